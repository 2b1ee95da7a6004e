"""Changes of resolution in the VAE: halving on the way in, doubling on the way out."""

from __future__ import annotations

import torch

from wan_trt.export.modeling.vae_history import Cache, History, Remembering
from wan_trt.export.modeling.vae_layers import HISTORY_FRAMES, Conv, DoublingConv
from wan_trt.export.modeling.vae_sizes import LayerSizes


class Downsample(Remembering):
    """Halves rows and columns, and with `sizes.in_time` the frames.

    The `first` chunk's one frame stays as it is in time and is remembered. Later chunks of 2n
    frames see the last frame before them and become n.
    """

    def __init__(self, sizes: LayerSizes, scale: int, *, first: bool) -> None:
        """`scale` is that of the output."""
        super().__init__()
        channels = sizes.outputs
        self.space = Conv(sizes.inputs, channels, (1, 3, 3), stride=(1, 2, 2), padding_after=1)
        self.time: Conv | None = None
        if sizes.in_time and not first:
            self.time = Conv(channels, channels, (3, 1, 1), stride=(2, 1, 1))
        self.cache = Cache(channels, 1, scale) if sizes.in_time else None

    def forward(self, x: torch.Tensor, history: History) -> torch.Tensor:
        y: torch.Tensor = self.space(x)
        if self.time is not None:
            y = self.time(history.extend(y, 1))
        elif self.cache is not None:
            history.begin(y, 1)
        return y


class Upsample(Remembering):
    """Doubles rows and columns, and with `sizes.in_time` the frames of all but the `first` chunk.

    The second chunk looks back on zeros, not on the first frame: the first chunk leaves zeros.
    """

    def __init__(self, sizes: LayerSizes, scale: int, *, first: bool) -> None:
        """`scale` is that of the input."""
        super().__init__()
        channels = sizes.inputs
        self.time: Conv | None = None
        if sizes.in_time and not first:
            self.time = Conv(channels, 2 * channels, (3, 1, 1))
        self.space = DoublingConv(channels, sizes.outputs)
        self.cache = Cache(channels, HISTORY_FRAMES, scale) if sizes.in_time else None

    def forward(self, x: torch.Tensor, history: History) -> torch.Tensor:
        if self.time is not None:
            channels, frames, rows, columns = x.shape
            # the even frames come from the first half of the channels, the odd from the second
            pairs = self.time(history.extend(x, HISTORY_FRAMES))
            pairs = pairs.reshape(2, channels, frames, rows, columns).permute(1, 2, 0, 3, 4)
            x = pairs.reshape(channels, 2 * frames, rows, columns)
        elif self.cache is not None:
            history.begin_empty(x, HISTORY_FRAMES)
        y: torch.Tensor = self.space(x)
        return y
