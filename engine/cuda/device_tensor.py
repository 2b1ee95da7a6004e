"""Tensors in device memory, and how their values get there and back."""

from __future__ import annotations

import ctypes
import math
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.cuda.driver import Device


@dataclass(frozen=True)
class Rows:
    """The bytes of a tensor: `count` rows of `nbytes`, whose beginnings are `pitch` apart."""

    count: int
    nbytes: int
    pitch: int


@dataclass(frozen=True)
class DeviceTensor:
    """Memory that somebody else owns. `dtype` is numpy's name, e.g. "float32".

    `strides` are bytes from one index to the next along each axis; left out, the tensor is
    contiguous. Indices and slices give views.
    """

    address: int
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.strides:
            object.__setattr__(self, "strides", self._contiguous_strides())

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * self._item_nbytes

    @property
    def contiguous(self) -> bool:
        """Whether nothing lies between its elements."""
        pairs = zip(self.shape, self.strides, self._contiguous_strides(), strict=True)
        return not self.elements or all(n == 1 or s == c for n, s, c in pairs)

    @property
    def rows(self) -> Rows:
        """Raises ValueError where more than one outer dimension has gaps."""
        axes = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        nbytes = self._item_nbytes
        while axes and axes[-1][1] == nbytes:
            nbytes *= axes.pop()[0]
        if not axes:
            return Rows(1, nbytes, nbytes)
        count, pitch = axes.pop()
        while axes and axes[-1][1] == count * pitch:
            count *= axes.pop()[0]
        if axes:
            raise ValueError(f"more than one dimension of {self} has gaps")
        return Rows(count, nbytes, pitch)

    def __getitem__(self, key: int | slice | tuple[int | slice, ...]) -> DeviceTensor:
        """A view. Raises IndexError outside of the tensor, ValueError for slices with steps."""
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) > len(self.shape):
            raise IndexError(f"{len(keys)} indices for a tensor of {self.shape}")
        address, shape, strides = self.address, [], []
        for axis, (n, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            chosen = keys[axis] if axis < len(keys) else slice(None)
            if isinstance(chosen, slice):
                start, stop, step = chosen.indices(n)
                if step != 1:
                    raise ValueError(f"a view of every {step}th element")
                shape.append(max(stop - start, 0))
                strides.append(stride)
            else:
                start = chosen + n if chosen < 0 else chosen
                if not 0 <= start < n:
                    raise IndexError(f"{chosen} in a dimension of {n}")
            address += start * stride
        # A number has no strides, so none are handed on for it.
        return DeviceTensor(address, tuple(shape), self.dtype, tuple(strides))

    @property
    def _item_nbytes(self) -> int:
        return np.dtype(self.dtype).itemsize

    def _contiguous_strides(self) -> tuple[int, ...]:
        strides, nbytes = [], self._item_nbytes
        for n in reversed(self.shape):
            strides.append(nbytes)
            nbytes *= n
        return tuple(reversed(strides))


@dataclass(frozen=True)
class _Slot:
    address: int  # of pinned memory
    event: int  # of the last copy from or to it


class Staging:
    """Copies between arrays and device tensors through a few slots of pinned memory.

    From pageable memory a copy would hold the host until it is done. Here an upload returns when
    its last bytes lie in a slot, so the host may run ahead of the GPU by as much as the slots hold;
    the array may then be changed.
    """

    def __init__(self, device: Device, slot_nbytes: int = 4 << 20, slots: int = 2) -> None:
        """Raises ResourceError where pinned memory is not to be had."""
        self._device = device
        self._slot_nbytes = slot_nbytes
        self._slots: deque[_Slot] = deque()
        with ExitStack() as undo:
            undo.callback(self.close)
            for _ in range(slots):
                event = device.new_event()
                made = undo.enter_context(ExitStack())
                made.callback(device.destroy_event, event)
                self._slots.append(_Slot(device.allocate_pinned(slot_nbytes), event))
                made.pop_all()
            undo.pop_all()

    def upload(self, array: NDArray[Any], tensor: DeviceTensor, stream: int) -> None:
        """Enqueue a copy of the array's values. Raises ValueError for another shape or dtype."""
        if array.shape != tensor.shape or array.dtype != tensor.dtype:
            raise ValueError(
                f"{array.dtype} {array.shape} does not fit a tensor of {tensor.dtype} "
                f"{tensor.shape}"
            )
        source = np.ascontiguousarray(array)
        for start, address, nbytes in self._pieces(tensor):
            slot = self._free_slot()
            ctypes.memmove(slot.address, source.ctypes.data + start, nbytes)
            self._device.copy_to_device(address, slot.address, nbytes, stream)
            self._device.record(slot.event, stream)

    def download(self, tensor: DeviceTensor, stream: int) -> NDArray[Any]:
        """The values, once everything enqueued on the stream before is done."""
        array = np.empty(tensor.shape, tensor.dtype)
        under_way: deque[tuple[_Slot, int, int]] = deque()

        def land() -> None:
            slot, start, nbytes = under_way.popleft()
            self._device.synchronize_event(slot.event)
            ctypes.memmove(array.ctypes.data + start, slot.address, nbytes)

        for start, address, nbytes in self._pieces(tensor):
            if len(under_way) == len(self._slots):
                land()
            slot = self._free_slot()
            self._device.copy_to_host(slot.address, address, nbytes, stream)
            self._device.record(slot.event, stream)
            under_way.append((slot, start, nbytes))
        while under_way:
            land()
        return array

    def close(self) -> None:
        """Wait for the copies and free the slots."""
        while self._slots:
            slot = self._slots.popleft()
            self._device.synchronize_event(slot.event)
            self._device.destroy_event(slot.event)
            self._device.free_pinned(slot.address)

    def _pieces(self, tensor: DeviceTensor) -> Iterator[tuple[int, int, int]]:
        """(bytes before it, address, nbytes) of what goes through one slot at a time."""
        rows, size = tensor.rows, self._slot_nbytes
        for row in range(rows.count):
            for start in range(0, rows.nbytes, size):
                address = tensor.address + row * rows.pitch + start
                yield row * rows.nbytes + start, address, min(size, rows.nbytes - start)

    def _free_slot(self) -> _Slot:
        """The slot used longest ago, when the GPU is done with it."""
        slot = self._slots[0]
        self._slots.rotate(-1)
        self._device.synchronize_event(slot.event)
        return slot
