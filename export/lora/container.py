"""The safetensors container, read strictly and tensor by tensor.

    8 bytes   length of the header, little endian
    header    JSON: {"__metadata__": {..}, NAME: {"dtype", "shape", "data_offsets"}, ..}
    data      the tensors, without holes or overlaps (format of huggingface/safetensors)

The official reader accepts a name that occurs twice and cannot give out a tensor's raw bytes;
folding needs the first refused and the second to copy what no adapter touches.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wan_trt.export.lora.faults import Fault

HEADER_LIMIT = 100_000_000  # bytes, as in the official reader

# Bits of one element, and the torch type where there is one.
DTYPES: Mapping[str, tuple[int, torch.dtype | None]] = {
    "F64": (64, torch.float64),
    "F32": (32, torch.float32),
    "F16": (16, torch.float16),
    "BF16": (16, torch.bfloat16),
    "F8_E4M3": (8, torch.float8_e4m3fn),
    "F8_E5M2": (8, torch.float8_e5m2),
    "I64": (64, torch.int64),
    "I32": (32, torch.int32),
    "I16": (16, torch.int16),
    "I8": (8, torch.int8),
    "U8": (8, torch.uint8),
    "BOOL": (8, torch.bool),
    "C64": (64, None),
    "U64": (64, None),
    "U32": (32, None),
    "U16": (16, None),
    "F8_E8M0": (8, None),
    "F6_E2M3": (6, None),
    "F6_E3M2": (6, None),
    "F4": (4, None),
}
FLOATING = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


class ContainerError(Exception):
    """The file is not what it should be; its owner says whether it is an adapter or a model."""

    def __init__(self, kind: Fault, text: str, key: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.key = key


@dataclass(frozen=True)
class Entry:
    """One tensor: where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True, eq=False)
class Container:
    """An open safetensors file: its header has been checked, its data is read on demand."""

    path: Path
    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]

    @staticmethod
    def open(path: Path) -> Container:
        """Raises ContainerError for any departure from the format, OSError if unreadable."""
        size = os.stat(path).st_size  # noqa: PTH116 (a folder must raise on read, not here)
        with path.open("rb") as file:
            if size < 8:
                raise _broken(f"it has only {size} bytes")
            length = int.from_bytes(file.read(8), "little")
            if length > min(HEADER_LIMIT, size - 8):
                raise _broken(f"its header would have {length} bytes, the file has {size}")
            header = _json(file.read(length))
        return _checked(path, header, start=8 + length, nbytes=size - 8 - length)

    def raw(self, name: str) -> bytearray:
        """The bytes of a tensor as they are stored."""
        entry = self.entries[name]
        content = bytearray(entry.nbytes)
        with self.path.open("rb") as file:
            file.seek(entry.begin)
            if file.readinto(content) != entry.nbytes:
                raise _broken("it became shorter while it was read", name)
        return content

    def tensor(self, name: str, content: bytearray | None = None) -> torch.Tensor:
        """A tensor in its stored dtype, in memory of its own; `content` saves reading it again.

        Raises ContainerError for types without a torch counterpart.
        """
        entry = self.entries[name]
        dtype = DTYPES[entry.dtype][1]
        if dtype is None:
            raise ContainerError(Fault.UNSUPPORTED_DTYPE, f"{name} has dtype {entry.dtype}", name)
        if not entry.nbytes:
            return torch.empty(entry.shape, dtype=dtype)
        content = self.raw(name) if content is None else content
        return torch.frombuffer(content, dtype=dtype).reshape(entry.shape)


def _broken(text: str, key: str = "") -> ContainerError:
    return ContainerError(Fault.BAD_CONTAINER, text, key)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _broken(f"its header lists {name} twice", name)
        found[name] = value
    return found


def _json(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _broken(f"its header is not JSON ({error})") from None
    if not isinstance(header, dict):
        raise _broken("its header is not a JSON object")
    return header


def _checked(path: Path, header: dict[str, Any], start: int, nbytes: int) -> Container:
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _broken("its metadata is not a table of strings")
    entries = {name: _entry(name, value, start) for name, value in header.items()}
    position = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            what = "overlaps another tensor" if entry.begin < position else "follows a hole"
            raise _broken(f"{name} {what}", name)
        position = entry.end
    if position != start + nbytes:
        given, wanted = nbytes, position - start
        raise _broken(f"its tensors need {wanted} bytes of data, the file has {given}")
    return Container(path, entries, metadata)


def _entry(name: str, value: Any, start: int) -> Entry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _broken(f"{name} is not described by dtype, shape and data_offsets", name)
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if dtype not in DTYPES:
        raise ContainerError(Fault.UNSUPPORTED_DTYPE, f"{name} has dtype {dtype!r}", name)
    if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _broken(f"{name} has shape {shape} and offsets {offsets}", name)
    bits = math.prod(shape) * DTYPES[dtype][0]
    if bits != 8 * (offsets[1] - offsets[0]):
        raise _broken(f"{name} is {dtype} {shape} but has {offsets[1] - offsets[0]} bytes", name)
    return Entry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
