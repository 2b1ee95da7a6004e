"""Pages of a GPU: the driver's virtual memory calls.

    cuMemCreate    a page of the GPU's memory, without an address
    cuMemMap       puts it behind addresses that cuMemAddressReserve gave
    cuMemSetAccess lets the GPU use them; needed after every cuMemMap
    cuMemUnmap     takes it away: exactly what one cuMemMap put there, and without waiting for
                   kernels that use it

A page's memory is made when it is first committed and then kept: mapping it again costs less than
making it. `trim` gives up what is not mapped.

Source: CUDA driver API, Virtual Memory Management.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from wan_trt.engine.cuda.result_codes import checked
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.pages import PAGE_NBYTES, pages_for

_NO_FLAGS = 0
_ANYWHERE = 0


class CudaPages:
    """A `PageBackend` over one GPU. Its context is current on the thread that calls."""

    def __init__(
        self,
        cuda: Any,
        ordinal: int = 0,
        page_nbytes: int = PAGE_NBYTES,
        settle: Callable[[], None] | None = None,
    ) -> None:
        """`cuda` is `cuda.bindings.driver`. Pages are at least `page_nbytes`, rounded up to what
        the GPU maps.

        `settle` returns when nothing that was launched uses pages that are about to be taken away.
        None waits for everything on the GPU; who knows which streams matter waits for those.
        Raises ResourceError where the GPU has no virtual memory calls.
        """
        self._cuda = cuda
        self._settle = settle or (lambda: self._call(cuda.cuCtxSynchronize))
        self._require_support(ordinal)
        self._properties, self._access = self._descriptions(ordinal)
        least = int(
            self._call(
                cuda.cuMemGetAllocationGranularity,
                self._properties,
                cuda.CUmemAllocationGranularity_flags.CU_MEM_ALLOC_GRANULARITY_MINIMUM,
            )
        )
        self.page_nbytes = pages_for(page_nbytes, least) * least
        self._ranges: dict[int, int] = {}
        self._handles: dict[int, Any] = {}
        self._committed: dict[int, int] = {}

    def reserve(self, nbytes: int) -> int:
        """See `PageBackend.reserve`; the address is a multiple of the page."""
        address = int(
            self._call(
                self._cuda.cuMemAddressReserve, nbytes, self.page_nbytes, _ANYWHERE, _NO_FLAGS
            )
        )
        self._ranges[address] = nbytes
        return address

    def release(self, address: int) -> None:
        self._call(self._cuda.cuMemAddressFree, address, self._ranges[address])
        del self._ranges[address]

    def commit(self, address: int, pages: Sequence[int]) -> None:
        mapped: list[int] = []
        made: list[int] = []
        try:
            for index, page in enumerate(pages):
                if page not in self._handles:
                    self._handles[page] = self._create()
                    made.append(page)
                at = address + index * self.page_nbytes
                self._call(
                    self._cuda.cuMemMap, at, self.page_nbytes, 0, self._handles[page], _NO_FLAGS
                )
                mapped.append(at)
            nbytes = len(pages) * self.page_nbytes
            self._call(self._cuda.cuMemSetAccess, address, nbytes, [self._access], 1)
        except BaseException:
            for at in mapped:
                self._unmap(at)
            self._forget(made)
            raise
        self._committed.update(zip(mapped, pages, strict=True))

    def decommit(self, address: int, count: int) -> None:
        self._settle()
        for index in range(count):
            at = address + index * self.page_nbytes
            self._unmap(at)
            del self._committed[at]

    def committed(self) -> Mapping[int, int]:
        return self._committed

    def trim(self) -> int:
        """Give up the memory of pages that are not mapped."""
        spare = self._handles.keys() - set(self._committed.values())
        self._forget(spare)
        return len(spare) * self.page_nbytes

    def close(self) -> None:
        if self._committed:
            self._settle()
        for address in list(self._committed):
            self._unmap(address)
            del self._committed[address]
        self.trim()
        for address in list(self._ranges):
            self.release(address)

    def _create(self) -> Any:
        return self._call(self._cuda.cuMemCreate, self.page_nbytes, self._properties, _NO_FLAGS)

    def _forget(self, pages: Iterable[int]) -> None:
        for page in pages:
            self._call(self._cuda.cuMemRelease, self._handles.pop(page))

    def _unmap(self, address: int) -> None:
        self._call(self._cuda.cuMemUnmap, address, self.page_nbytes)

    def _require_support(self, ordinal: int) -> None:
        device = self._call(self._cuda.cuDeviceGet, ordinal)
        kind = self._cuda.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        if not self._call(self._cuda.cuDeviceGetAttribute, kind, device):
            raise ResourceError(
                f"GPU {ordinal} has no virtual memory management",
                expected="cuMemMap and its kin, which some virtual GPUs lack",
                action="run this on a whole GPU or a MIG slice",
            )

    def _descriptions(self, ordinal: int) -> tuple[Any, Any]:
        """What memory is made, and who may use it: this GPU, reading and writing."""
        cuda, here = self._cuda, self._cuda.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        properties, access = cuda.CUmemAllocationProp(), cuda.CUmemAccessDesc()
        # The GPU's own memory, which is never paged out, is called "pinned" here.
        properties.type = cuda.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        for location in (properties.location, access.location):
            location.type, location.id = here, ordinal
        access.flags = cuda.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
        return properties, access

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return checked(self._cuda, function, *arguments)
