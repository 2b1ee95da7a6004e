"""Tensors in device memory, and how their values get there and back."""

from __future__ import annotations

import ctypes
import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.cuda.driver import Device


@dataclass(frozen=True)
class DeviceTensor:
    """Contiguous memory that somebody else owns. `dtype` is numpy's name, e.g. "float32"."""

    address: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.elements * np.dtype(self.dtype).itemsize


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
        self._slots = deque(
            _Slot(device.allocate_pinned(slot_nbytes), device.new_event()) for _ in range(slots)
        )

    def upload(self, array: NDArray[Any], tensor: DeviceTensor, stream: int) -> None:
        """Enqueue a copy of the array's values. Raises ValueError for another shape or dtype."""
        if array.shape != tensor.shape or array.dtype != tensor.dtype:
            raise ValueError(
                f"{array.dtype} {array.shape} does not fit a tensor of {tensor.dtype} "
                f"{tensor.shape}"
            )
        source = np.ascontiguousarray(array)
        for start, nbytes in self._pieces(tensor):
            slot = self._free_slot()
            ctypes.memmove(slot.address, source.ctypes.data + start, nbytes)
            self._device.copy_to_device(tensor.address + start, slot.address, nbytes, stream)
            self._device.record(slot.event, stream)

    def download(self, tensor: DeviceTensor, stream: int) -> NDArray[Any]:
        """The values, once everything enqueued on the stream before is done."""
        array = np.empty(tensor.shape, tensor.dtype)
        under_way: deque[tuple[_Slot, int, int]] = deque()

        def land() -> None:
            slot, start, nbytes = under_way.popleft()
            self._device.synchronize_event(slot.event)
            ctypes.memmove(array.ctypes.data + start, slot.address, nbytes)

        for start, nbytes in self._pieces(tensor):
            if len(under_way) == len(self._slots):
                land()
            slot = self._free_slot()
            self._device.copy_to_host(slot.address, tensor.address + start, nbytes, stream)
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

    def _pieces(self, tensor: DeviceTensor) -> list[tuple[int, int]]:
        """(start, nbytes) of what goes through one slot at a time."""
        return [
            (start, min(self._slot_nbytes, tensor.nbytes - start))
            for start in range(0, tensor.nbytes, self._slot_nbytes)
        ]

    def _free_slot(self) -> _Slot:
        """The slot used longest ago, when the GPU is done with it."""
        slot = self._slots[0]
        self._slots.rotate(-1)
        self._device.synchronize_event(slot.event)
        return slot
