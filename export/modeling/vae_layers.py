"""Layers of the VAE over [channels, frames, rows, columns], float32, without a batch dimension.

Channels stand first so that the norm's sum over them runs along whole planes, which ONNX Runtime
reduces several times faster than the same sum behind a batch dimension of one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from wan_trt.export.modeling.attention import attention
from wan_trt.export.modeling.module import Linear
from wan_trt.export.modeling.vae_history import Cache, History, Remembering

HISTORY_FRAMES = 2  # what a temporal kernel of three looks back to


class Conv(nn.Module):
    """A convolution in time and space, zero padding in space alone.

    `padding` is on all four edges, `padding_after` at the right and bottom.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        *,
        stride: tuple[int, int, int] = (1, 1, 1),
        padding: int = 0,
        padding_after: int = 0,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.stride = stride
        self.padding = (0, padding, padding)
        self.padding_after = padding_after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unsqueeze(0)
        if self.padding_after:  # next to the convolution, where ONNX Runtime merges the two
            x = F.pad(x, (0, self.padding_after, 0, self.padding_after))
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding).squeeze(0)


class DoublingConv(nn.Module):
    """Nearest-neighbour doubling and a 3x3 convolution over it, computed at the small size.

    Several of the nine taps over doubled pixels fall on one small pixel, so each of the four
    phases (even or odd row, even or odd column) is a 2x2 convolution over the small picture: 16
    products for 36, and the doubled picture never exists. `weight` [4*outputs, inputs, 1, 2, 2]
    holds the phases one after another.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.weight = nn.Parameter(torch.empty(4 * outputs, inputs, 1, 2, 2))
        self.bias = nn.Parameter(torch.empty(4 * outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, frames, rows, columns = x.shape
        # with a margin all around: an even pixel looks one back, an odd one one ahead
        y = F.conv3d(x.unsqueeze(0), self.weight, self.bias, padding=(0, 1, 1)).squeeze(0)

        def phase(row: int, column: int) -> torch.Tensor:
            start = (2 * row + column) * self.outputs
            phases = y[start : start + self.outputs]
            return phases[:, :, row : row + rows, column : column + columns]

        lines = [
            torch.stack((phase(row, 0), phase(row, 1)), dim=-1).reshape(
                self.outputs, frames, rows, 1, 2 * columns
            )
            for row in (0, 1)
        ]
        return torch.cat(lines, dim=3).reshape(self.outputs, frames, 2 * rows, 2 * columns)


class CausalConv(Remembering):
    """A 3x3x3 convolution that sees the present frame and the two before it.

    In the `first` chunk there are none before it, and of the kernel only the last tap is left.
    """

    def __init__(self, inputs: int, outputs: int, scale: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.conv = Conv(inputs, outputs, (1 if first else 3, 3, 3), padding=1)
        self.cache = Cache(inputs, HISTORY_FRAMES, scale)

    def forward(self, x: torch.Tensor, history: History) -> torch.Tensor:
        if self.first:
            history.begin(x, HISTORY_FRAMES)
        else:
            x = history.extend(x, HISTORY_FRAMES)
        y: torch.Tensor = self.conv(x)
        return y


class ChannelNorm(nn.Module):
    """x / |x| * gain with the length taken over channels; a zero vector stays zero.

    `gain` [channels, 1, 1, 1] is the checkpoint's gamma times sqrt(channels).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.empty(channels, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # 1e-24 is the square of upstream's lower bound of the length
        reciprocal = torch.rsqrt((x * x).sum(dim=0, keepdim=True) + 1e-24)
        return x * reciprocal * self.gain


class ResidualBlock(nn.Module):
    """Twice norm, SiLU and causal convolution, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, scale: int, *, first: bool) -> None:
        super().__init__()
        self.norm_in = ChannelNorm(inputs)
        self.conv_in = CausalConv(inputs, outputs, scale, first=first)
        self.norm_out = ChannelNorm(outputs)
        self.conv_out = CausalConv(outputs, outputs, scale, first=first)
        self.shortcut = Conv(inputs, outputs) if inputs != outputs else None

    def forward(self, x: torch.Tensor, history: History) -> torch.Tensor:
        y: torch.Tensor = self.conv_in(F.silu(self.norm_in(x)), history)
        y = self.conv_out(F.silu(self.norm_out(y)), history)
        return y + (x if self.shortcut is None else self.shortcut(x))


class FrameAttention(nn.Module):
    """Self-attention with one head over the pixels of a chunk that is one frame long."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.qkv = Linear(channels, 3 * channels)
        self.projection = Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [channels, 1, rows, columns]."""
        channels = x.shape[0]
        tokens = self.norm(x).reshape(channels, -1).transpose(0, 1)
        qkv = self.qkv(tokens).unsqueeze(0)
        query = qkv[..., :channels]
        key = qkv[..., channels : 2 * channels]
        value = qkv[..., 2 * channels :]
        mixed = attention(query, key, value, heads=1).squeeze(0)
        projected: torch.Tensor = self.projection(mixed)
        return x + projected.transpose(0, 1).reshape(x.shape)


class Middle(nn.Module):
    """The bottom of either side, at latent resolution: block, attention, block."""

    def __init__(self, channels: int, *, first: bool) -> None:
        super().__init__()
        self.block_in = ResidualBlock(channels, channels, 1, first=first)
        self.attention = FrameAttention(channels)
        self.block_out = ResidualBlock(channels, channels, 1, first=first)

    def forward(self, x: torch.Tensor, history: History) -> torch.Tensor:
        y: torch.Tensor = self.block_out(self.attention(self.block_in(x, history)), history)
        return y
