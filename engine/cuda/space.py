"""A GPU's memory as a space: everything is enqueued on one stream, only `read` and `wait` wait."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.cuda.device_tensor import DeviceTensor, Rows, Staging
from wan_trt.engine.cuda.driver import Device


class CudaSpace:
    """A `Space` of device tensors. It owns its stream and what copies go through."""

    def __init__(self, device: Device) -> None:
        """Raises ResourceError where pinned memory is not to be had."""
        self._device = device
        with ExitStack() as undo:
            self.stream: int = device.new_stream()
            undo.callback(device.destroy_stream, self.stream)
            self._units: list[int] = []
            for _ in range(2):
                self._units.append(device.new_event())
                undo.callback(device.destroy_event, self._units[-1])
            self._staging = Staging(device)
            undo.pop_all()

    def at(self, address: int, shape: tuple[int, ...], dtype: str) -> DeviceTensor:
        return DeviceTensor(address, shape, dtype)

    def write(self, tensor: Any, values: NDArray[Any]) -> None:
        """See `Space.write`."""
        if not np.can_cast(values.dtype, tensor.dtype, "same_kind"):
            raise TypeError(f"{values.dtype} does not fit a tensor of {tensor.dtype}")
        self._staging.upload(values.astype(tensor.dtype, copy=False), tensor, self.stream)

    def copy(self, target: Any, source: Any) -> None:
        """See `Space.copy`."""
        if (target.shape, target.dtype) != (source.shape, source.dtype):
            raise ValueError(f"{source} does not fit {target}")
        there, here = target.rows, source.rows
        if there.count == here.count == 1:
            self._device.copy_on_device(target.address, source.address, there.nbytes, self.stream)
            return
        rows = there if there.count > 1 else here
        there, here = (_divided(part, rows) for part in (there, here))
        self._device.copy_rows_on_device(
            target.address,
            there.pitch,
            source.address,
            here.pitch,
            (rows.count, rows.nbytes),
            self.stream,
        )

    def read(self, tensor: Any) -> NDArray[Any]:
        return self._staging.download(tensor, self.stream)

    def wait(self) -> None:
        self._device.synchronize(self.stream)

    def mark(self, event: int | None = None) -> int:
        """See `Space.mark`."""
        marked = self._device.new_event() if event is None else event
        self._device.record(marked, self.stream)
        return marked

    def wait_for(self, event: int | None) -> None:
        if event is not None:
            self._device.wait(self.stream, event)

    def settle(self, event: int | None) -> None:
        if event is not None:
            self._device.synchronize_event(event)

    def forget(self, event: int | None) -> None:
        if event is not None:
            self._device.destroy_event(event)

    def pace(self) -> None:
        """See `Space.pace`."""
        self._units.reverse()
        self._device.record(self._units[0], self.stream)
        self._device.synchronize_event(self._units[1])

    def close(self) -> None:
        """Wait for everything and free what is not the caller's."""
        self.wait()
        self._staging.close()
        for event in self._units:
            self._device.destroy_event(event)
        self._device.destroy_stream(self.stream)


def _divided(part: Rows, rows: Rows) -> Rows:
    """Rows without gaps, as shorter ones. Raises ValueError where they do not go together."""
    if part.count == 1:
        return Rows(rows.count, rows.nbytes, rows.nbytes)
    if (part.count, part.nbytes) != (rows.count, rows.nbytes):
        raise ValueError("two tensors whose gaps are not alike")
    return part
