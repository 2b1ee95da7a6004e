"""Pinned host memory for a GPU's parked state: copies on a stream of their own.

Pages of the host that cannot be swapped out are what the GPU's copy engines read and write without
the processor, at the full speed of the link, while kernels run. Making them takes long, so a chunk
is kept once it was used.
"""

from __future__ import annotations

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.parking import CHUNK_NBYTES


class PinnedStore:
    """A `ParkingStore` of one GPU."""

    def __init__(self, device: Device, chunk_nbytes: int = CHUNK_NBYTES) -> None:
        self.chunk_nbytes = chunk_nbytes
        self._device = device
        self._stream = device.new_stream()
        self._event = device.new_event()
        self._chunks: dict[int, int] = {}

    @property
    def event(self) -> int:
        return self._event

    def wait_for(self, event: int) -> None:
        self._device.wait(self._stream, event)

    def save(self, chunk: int, address: int, nbytes: int) -> None:
        self._device.copy_to_host(self._host(chunk), address, nbytes, self._stream)

    def load(self, chunk: int, address: int, nbytes: int) -> None:
        self._device.copy_to_device(address, self._host(chunk), nbytes, self._stream)

    def finish(self) -> None:
        self._device.record(self._event, self._stream)

    def wait(self) -> None:
        self._device.synchronize(self._stream)

    def close(self) -> None:
        self.wait()
        self._device.destroy_event(self._event)
        self._device.destroy_stream(self._stream)
        for address in self._chunks.values():
            self._device.free_pinned(address)
        self._chunks.clear()

    def _host(self, chunk: int) -> int:
        if chunk not in self._chunks:
            try:
                self._chunks[chunk] = self._device.allocate_pinned(self.chunk_nbytes)
            except ResourceError as error:
                raise ResourceError(
                    f"no pinned host memory for {self.chunk_nbytes} bytes ({error.given})",
                    action="park fewer jobs, or use a machine with more memory",
                ) from None
        return self._chunks[chunk]
