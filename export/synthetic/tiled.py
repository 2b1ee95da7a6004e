"""Files of random tensors that are written as fast as the disk takes them, in little memory.

Every tensor is the same block of normal values, from a place of its own on and as often as it
takes, at the tensor's own mean and deviation. The block's length is a prime, so no two rows of a
matrix are equal. Good for measuring how weights are read and written; `values.random_tensor` is for
weights that are computed with.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wan_trt.export.layouts.dit_names import blur_kernel
from wan_trt.export.synthetic.dit_shapes import Shape
from wan_trt.export.synthetic.values import Spreads, generator, spread_of

_BLOCK = 4194301  # values; the largest prime below 2^22
_HEADER_UNIT = 8


def write_tiled(path: Path, shapes: Mapping[str, Shape], spreads: Spreads, label: str) -> None:
    """A safetensors file of bfloat16 tensors; equal arguments give equal files.

    Memory holds about 60 MB of values, whatever the shapes.
    """
    block = torch.randn(_BLOCK, generator=generator(label))
    with path.open("wb") as file:
        file.write(_header(shapes))
        for name, shape in shapes.items():
            for piece in _pieces(block, name, shape, spreads, label):
                file.write(piece.data)


def _header(shapes: Mapping[str, Shape]) -> bytes:
    """Its length, eight bytes little endian, and JSON padded with spaces."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % _HEADER_UNIT)
    return len(text).to_bytes(8, "little") + text


def _pieces(
    block: torch.Tensor, name: str, shape: Shape, spreads: Spreads, label: str
) -> Iterator[NDArray[np.int16]]:
    """The tensor's values in order, as the bits of bfloat16."""
    if name.endswith(".kernel"):
        yield _bits(blur_kernel())
        return
    count, spread = math.prod(shape), spread_of(name, spreads)
    start = int(torch.randint(_BLOCK, (), generator=generator(f"{label}/{name}")))
    values = torch.cat((block[start:], block[:start]))[:count]
    bits = _bits(values * spread.deviation(shape) + spread.mean)
    for first in range(0, count, len(bits)):
        yield bits[: count - first]


def _bits(values: torch.Tensor) -> NDArray[np.int16]:
    bits: NDArray[np.int16] = values.to(torch.bfloat16).flatten().view(torch.int16).numpy()
    return bits
