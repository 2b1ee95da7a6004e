"""Host pages: memory that comes and goes behind addresses that stay."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.host import HostPages, array_at
from wan_trt.engine.memory.pages import PAGE_NBYTES

MAPS = Path("/proc/self/smaps")


@pytest.fixture
def pages() -> Iterator[HostPages]:
    pages = HostPages()
    yield pages
    pages.close()


def resident_nbytes(address: int, nbytes: int) -> int:
    """Memory behind a range, as the kernel counts it. What only overlaps the range is counted in
    whole: the tests leave ranges without access around it."""
    if not MAPS.is_file():
        pytest.skip("needs Linux's /proc/self/smaps")
    total, inside = 0, False
    for line in MAPS.read_text().splitlines():
        name, *rest = line.split()
        if "-" in name and not name.endswith(":"):
            start, stop = (int(part, 16) for part in name.split("-"))
            inside = start < address + nbytes and address < stop
        elif inside and name == "Rss:":
            total += int(rest[0]) * 1024
    return total


def test_memory_is_taken_at_the_touch_and_falls_at_the_return(pages: HostPages) -> None:
    nbytes = 32 * PAGE_NBYTES
    address = pages.reserve(nbytes + 2 * PAGE_NBYTES) + PAGE_NBYTES
    assert resident_nbytes(address, nbytes) == 0
    pages.commit(address, range(32))
    array_at(address, (nbytes,), "uint8")[:] = 7
    assert resident_nbytes(address, nbytes) == nbytes
    pages.decommit(address + 8 * PAGE_NBYTES, 24)
    assert resident_nbytes(address, nbytes) == 8 * PAGE_NBYTES
    pages.decommit(address, 8)
    assert resident_nbytes(address, nbytes) == 0


def test_contents_are_zero_after_a_return_and_views_hold(pages: HostPages) -> None:
    address = pages.reserve(2 * PAGE_NBYTES)
    pages.commit(address, [0, 1])
    view = array_at(address, (2, PAGE_NBYTES // 4), "float32")
    view[:] = 3.5
    pages.decommit(address + PAGE_NBYTES, 1)
    pages.commit(address + PAGE_NBYTES, [1])
    assert view.ctypes.data == address
    np.testing.assert_array_equal(view[0], 3.5)
    np.testing.assert_array_equal(view[1], 0)


def test_addresses_are_multiples_of_the_page_and_do_not_overlap(pages: HostPages) -> None:
    ranges = sorted((pages.reserve(nbytes * PAGE_NBYTES), nbytes) for nbytes in (1, 5, 2, 3))
    assert all(address % PAGE_NBYTES == 0 for address, _ in ranges)
    for (address, nbytes), (following, _) in pairwise(ranges):
        assert address + nbytes * PAGE_NBYTES <= following


def test_a_range_may_be_far_larger_than_the_machine(pages: HostPages) -> None:
    address = pages.reserve(1 << 40)
    pages.commit(address + (1 << 39), [0])
    array_at(address + (1 << 39), (4,), "int64")[:] = 1
    pages.decommit(address + (1 << 39), 1)
    pages.release(address)


def test_addresses_that_the_system_has_not_are_a_resource_error(pages: HostPages) -> None:
    with pytest.raises(ResourceError, match="reserving"):
        pages.reserve(1 << 60)


@pytest.mark.parametrize("state", ["never committed", "given back"])
def test_a_touch_without_a_lease_is_stopped(state: str) -> None:
    code = f"""
from wan_trt.engine.memory.host import HostPages, array_at
pages = HostPages()
address = pages.reserve(pages.page_nbytes)
if {state!r} == "given back":
    pages.commit(address, [0])
    array_at(address, (1,), "uint8")[0] = 1
    pages.decommit(address, 1)
print(array_at(address, (1,), "uint8")[0])
"""
    result = subprocess.run([sys.executable, "-c", code], env=_environment(), capture_output=True)
    assert result.returncode < 0, "the process reads what it has no lease of"


def test_a_thousand_turns_leave_no_memory_and_no_mappings() -> None:
    arena = Arena(HostPages(), pages=16)
    scratch = arena.reserve("scratch", 18 * PAGE_NBYTES)

    def turn(number: int) -> None:
        half = 8 * PAGE_NBYTES
        start = PAGE_NBYTES + half * (number % 2)
        with arena.leased(scratch, f"holder-{number}", start, half) as lease:
            array_at(lease.address, (8, PAGE_NBYTES), "uint8")[:, 0] = 1

    turn(0)
    mappings = len(MAPS.read_text().splitlines()) if MAPS.is_file() else 0
    for number in range(1000):
        turn(number)
    arena.check()
    assert resident_nbytes(scratch.address, scratch.nbytes) == 0
    assert len(MAPS.read_text().splitlines()) <= mappings + 100
    arena.close()


def test_a_page_is_a_multiple_of_the_systems() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        HostPages(1000)


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / ".path")}
