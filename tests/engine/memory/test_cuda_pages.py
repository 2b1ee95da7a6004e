"""CUDA pages on a made-up driver that keeps the real one's rules; see fake_virtual_memory.py."""

from __future__ import annotations

import ctypes
from collections import Counter

import pytest

pytest.importorskip("cuda.bindings.driver", reason="needs cuda-bindings (extra `cuda`)")

from fake_virtual_memory import FakeVirtualMemory

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import ExecutionError, ResourceError
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.cuda import CudaPages
from wan_trt.engine.memory.host import array_at

PAGE = 2 << 20


@pytest.fixture
def cuda() -> FakeVirtualMemory:
    """A GPU with 32 pages of memory."""
    return FakeVirtualMemory(32 * PAGE)


def test_pages_come_and_go_behind_addresses_that_stay(cuda: FakeVirtualMemory) -> None:
    arena = Arena(CudaPages(cuda), pages=8)
    scratch, other = arena.reserve("scratch", 4 * PAGE), arena.reserve("other", 8 * PAGE)
    first = arena.lease(scratch, "high")
    array_at(first.address, (4 * PAGE,), "uint8")[:] = 1
    arena.give_back(first)
    with arena.leased(other, "vae", nbytes=4 * PAGE):
        second = arena.lease(scratch, "low")
        assert second.address == first.address
        array_at(second.address, (4 * PAGE,), "uint8")[:] = 2
    arena.check()
    arena.give_back(second)
    arena.close()
    assert not cuda.handles
    assert not cuda.reserved


def test_memory_is_made_once_and_given_up_by_trim(cuda: FakeVirtualMemory) -> None:
    arena = Arena(CudaPages(cuda), pages=8)
    scratch = arena.reserve("scratch", 4 * PAGE)
    for _ in range(200):
        arena.give_back(arena.lease(scratch, "high"))
    count = Counter(cuda.calls)
    assert count["cuMemCreate"] == 4
    assert count["cuMemMap"] == count["cuMemUnmap"] == 800
    assert count["cuMemSetAccess"] == 200, "one call for the whole lease"
    with arena.leased(scratch, "high", nbytes=PAGE):
        assert arena.trim() == 3 * PAGE
    assert len(cuda.handles) == 1
    arena.close()
    assert not cuda.handles


def test_it_waits_for_the_gpu_before_it_takes_pages_away(cuda: FakeVirtualMemory) -> None:
    device = Device(bindings=cuda)
    stream, host = device.new_stream(), device.allocate_pinned(PAGE)
    ctypes.memset(host, 9, PAGE)
    arena = Arena(CudaPages(cuda), pages=2)
    scratch = arena.reserve("scratch", PAGE)
    lease = arena.lease(scratch, "high")
    device.copy_to_device(lease.address, host, PAGE, stream)
    arena.give_back(lease)  # the made-up driver refuses to unmap what queued work uses
    arena.check()


def test_who_knows_the_streams_waits_for_them_alone(cuda: FakeVirtualMemory) -> None:
    device = Device(bindings=cuda)
    vae = device.new_stream()
    arena = Arena(CudaPages(cuda, settle=lambda: device.synchronize(vae)), pages=2)
    arena.give_back(arena.lease(arena.reserve("scratch", PAGE), "high"))
    assert "cuCtxSynchronize" not in cuda.calls
    assert "cuStreamSynchronize" in cuda.calls


def test_a_gpu_without_memory_is_a_resource_error_and_nothing_stays_behind() -> None:
    cuda = FakeVirtualMemory(3 * PAGE)
    arena = Arena(CudaPages(cuda), pages=8)
    scratch = arena.reserve("scratch", 4 * PAGE)
    with pytest.raises(ResourceError, match="no GPU memory"):
        arena.lease(scratch, "high")
    assert not cuda.handles, "others can have what was made on the way"
    arena.check()
    with arena.leased(scratch, "high", nbytes=3 * PAGE):
        arena.check()


@pytest.mark.parametrize("function", ["cuMemCreate", "cuMemMap", "cuMemSetAccess"])
def test_a_commit_that_fails_half_way_is_undone(cuda: FakeVirtualMemory, function: str) -> None:
    arena = Arena(CudaPages(cuda), pages=8)
    scratch = arena.reserve("scratch", 4 * PAGE)
    cuda.fail_at[function] = (1 if function == "cuMemSetAccess" else 3, "CUDA_ERROR_ILLEGAL_STATE")
    with pytest.raises(ExecutionError, match=f"{function}: CUDA_ERROR_ILLEGAL_STATE"):
        arena.lease(scratch, "high")
    assert not cuda.handles
    arena.check()
    arena.give_back(arena.lease(scratch, "high"))


def test_addresses_that_the_driver_has_not_are_a_resource_error(cuda: FakeVirtualMemory) -> None:
    cuda.fail_at["cuMemAddressReserve"] = (1, "CUDA_ERROR_OUT_OF_MEMORY")
    arena = Arena(CudaPages(cuda), pages=8)
    with pytest.raises(ResourceError, match="cuMemAddressReserve"):
        arena.reserve("scratch", PAGE)
    arena.reserve("scratch", PAGE)


def test_pages_are_multiples_of_what_the_gpu_maps() -> None:
    assert (
        CudaPages(FakeVirtualMemory(granularity=2 << 20), page_nbytes=3 << 20).page_nbytes
        == 4 << 20
    )
    assert CudaPages(FakeVirtualMemory(granularity=4 << 20)).page_nbytes == 4 << 20


def test_pages_of_several_granules_are_mapped_in_one_call(cuda: FakeVirtualMemory) -> None:
    arena = Arena(CudaPages(cuda, page_nbytes=4 * PAGE), pages=2)
    with arena.leased(arena.reserve("scratch", 8 * PAGE), "high") as lease:
        array_at(lease.address, (8 * PAGE,), "uint8")[:] = 5
        assert Counter(cuda.calls)["cuMemMap"] == 2


def test_a_gpu_without_virtual_memory_is_refused(cuda: FakeVirtualMemory) -> None:
    cuda.virtual_memory = False
    with pytest.raises(ResourceError, match="no virtual memory management"):
        CudaPages(cuda)


def test_the_made_up_driver_keeps_the_rules(cuda: FakeVirtualMemory) -> None:
    """The checks above prove something only if a broken rule is noticed."""
    pages = CudaPages(cuda)
    success = cuda.CUresult.CUDA_SUCCESS
    address = pages.reserve(2 * PAGE)
    pages.commit(address, [0])
    handle = next(iter(cuda.handles))
    assert cuda.cuMemMap(address, PAGE, 0, handle, 0)[0] != success, "mapped twice"
    assert cuda.cuMemMap(address + 2 * PAGE, PAGE, 0, handle, 0)[0] != success, "not reserved"
    assert cuda.cuMemMap(address + PAGE + 4096, PAGE, 0, handle, 0)[0] != success, "not aligned"
    assert cuda.cuMemUnmap(address, PAGE // 2)[0] != success, "a part of a mapping"
    assert cuda.cuMemUnmap(address + PAGE, PAGE)[0] != success, "not mapped"
    assert cuda.cuMemSetAccess(address, 2 * PAGE, [cuda.CUmemAccessDesc()], 1)[0] != success
    with pytest.raises(AssertionError, match="until it is unmapped"):
        cuda.cuMemRelease(handle)
    with pytest.raises(AssertionError, match="while memory is mapped"):
        cuda.cuMemAddressFree(address, 2 * PAGE)
    pages.close()
