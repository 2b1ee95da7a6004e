"""What a recurrent VAE graph remembers between chunks.

Frames enter the VAE in chunks. A layer that looks back in time keeps the tail of its input and
finds it in front of the next chunk, which makes the chunked run equal to one causal convolution
over the whole clip. Here that tail is an explicit tensor: the graph takes `cache_NN` and hands out
`next_cache_NN`, numbered in the order in which the layers run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from wan_trt.engine.executor import TensorSpec


def grid(scale: int) -> tuple[str, str]:
    """Rows and columns where a latent pixel is `scale` pixels wide, as dimensions."""
    factor = "" if scale == 1 else f"{scale}*"
    return f"{factor}height", f"{factor}width"


@dataclass(frozen=True)
class Cache:
    """Size of one layer's memory: [channels, frames, scale*height, scale*width]."""

    channels: int
    frames: int
    scale: int

    def spec(self, name: str) -> TensorSpec:
        return TensorSpec(name, "float32", (self.channels, self.frames, *grid(self.scale)))


class Remembering(nn.Module):
    """A layer that may have a memory; None where its variant needs none."""

    cache: Cache | None


def cache_specs(module: nn.Module, prefix: str) -> tuple[TensorSpec, ...]:
    """The caches of all layers in `module`, which register their children in running order."""
    caches = [
        child.cache
        for child in module.modules()
        if isinstance(child, Remembering) and child.cache is not None
    ]
    return tuple(cache.spec(f"{prefix}{index:02d}") for index, cache in enumerate(caches))


class History:
    """The caches of one run: those that came in, and in `left` those that go out so far.

    A layer with a memory calls exactly one of the methods once in a run. In the first chunk
    nothing came in.
    """

    def __init__(self, given: Sequence[torch.Tensor]) -> None:
        self._given = given
        self.left: list[torch.Tensor] = []

    def extend(self, x: torch.Tensor, frames: int) -> torch.Tensor:
        """`x` [channels, time, rows, columns] with the `frames` before it in front."""
        joined = torch.cat((self._given[len(self.left)], x), dim=1)
        self.left.append(joined[:, -frames:])
        return joined

    def begin(self, x: torch.Tensor, frames: int) -> None:
        """Leave the one frame `x` as the last of `frames`, the others zero."""
        self.left.append(F.pad(x, (0, 0, 0, 0, frames - 1, 0)))

    def begin_empty(self, x: torch.Tensor, frames: int) -> None:
        """Leave `frames` zeros of the size of `x`."""
        channels, _, rows, columns = x.shape
        self.left.append(x.new_zeros((channels, frames, rows, columns)))
