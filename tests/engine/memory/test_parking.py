"""Parked state comes back bit for bit, in every place and store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_places import Place, on_a_made_up_driver, on_the_host

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.arena import Arena, Lease
from wan_trt.engine.memory.host_stores import FileStore, MemoryStore
from wan_trt.engine.memory.parking import Parking


@pytest.fixture
def parking(arena: Arena, place: Place, page: int) -> Iterator[Parking]:
    """Room for eight pages in chunks of one and a half."""
    parking = Parking(arena, place.store(page * 3 // 2), 9 * page)
    yield parking
    parking.check()
    parking.close()


def filled(arena: Arena, place: Place, name: str, pages: int) -> tuple[Lease, bytes]:
    """A lease of a reservation of its own, with random bytes in it."""
    lease = arena.lease(arena.reserve(name, pages * place.page_nbytes), name)
    content = os.urandom(lease.nbytes)
    place.write(lease.address, content)
    return lease, content


def test_a_job_comes_back_bit_for_bit_at_its_addresses(
    arena: Arena, place: Place, parking: Parking, page: int
) -> None:
    latents, in_latents = filled(arena, place, "latents", 1)
    context, in_context = filled(arena, place, "context", 4)
    parked = parking.park([latents, context])
    parking.give_back(parked)
    assert arena.free_nbytes == 8 * page
    with arena.leased(arena.reserve("scratch", 8 * page), "other") as other:
        place.write(other.address, os.urandom(other.nbytes))
    back = parking.bring_back(parked)
    assert [lease.address for lease in back] == [latents.address, context.address]
    assert place.read(back[0].address, back[0].nbytes, parking.event) == in_latents
    assert place.read(back[1].address, back[1].nbytes) == in_context
    for lease in back:
        arena.give_back(lease)


def test_pages_are_not_taken_before_they_are_copied() -> None:
    """Also where the backend waits for other streams alone."""
    place = on_a_made_up_driver(settle=lambda: None)
    arena = place.arena(4)
    parking = Parking(arena, place.store(1 << 16), 1 << 20)
    lease, content = filled(arena, place, "job", 4)
    parked = parking.park([lease])
    parking.give_back(parked)  # the made-up driver refuses to unmap what queued work uses
    (back,) = parking.bring_back(parked)
    assert place.read(back.address, back.nbytes, parking.event) == content


def test_several_jobs_are_parked_at_a_time(arena: Arena, place: Place, parking: Parking) -> None:
    contents, parked = {}, []
    for number in range(3):
        lease, contents[number] = filled(arena, place, f"job-{number}", 2)
        parked.append(parking.park([lease]))
        parking.give_back(parked[-1])
    for number in (1, 2, 0):
        (lease,) = parking.bring_back(parked[number])
        assert place.read(lease.address, lease.nbytes, parking.event) == contents[number]
        arena.give_back(lease)


def test_a_copy_waits_for_the_stream_that_writes(
    arena: Arena, place: Place, parking: Parking
) -> None:
    if place.device is None:
        pytest.skip("a host has no streams")
    device, (lease, before) = place.device, filled(arena, place, "job", 2)
    source, _ = filled(arena, place, "source", 2)
    compute, written, host = device.new_stream(), device.new_event(), device.allocate_pinned(9)
    device.copy_to_host(host, source.address, 9, compute)
    device.copy_to_device(lease.address, host, 9, compute)
    device.record(written, compute)
    parked = parking.park([lease], after=written)
    parking.give_back(parked)
    (back,) = parking.bring_back(parked)
    expected = place.read(source.address, 9) + before[9:]
    device.synchronize(compute)
    assert place.read(back.address, back.nbytes, parking.event) == expected
    arena.give_back(back)
    arena.give_back(source)
    device.free_pinned(host)


def test_without_room_nothing_is_parked_and_nothing_lost(
    arena: Arena, place: Place, parking: Parking, page: int
) -> None:
    latents, in_latents = filled(arena, place, "job-1 latents", 2)
    context, in_context = filled(arena, place, "job-1 context", 4)
    second, _ = filled(arena, place, "job-2", 2)
    parked = parking.park([latents, context])
    parking.give_back(parked)
    third, _ = filled(arena, place, "job-3", 3)
    with pytest.raises(ResourceError, match="job-2, job-3 wants"):
        parking.park([second, third])
    with pytest.raises(ResourceError, match="job-1 context wants 4 pages"):
        parking.bring_back(parked)
    assert arena.free_nbytes == 3 * page, "what was leased on the way was given back"
    arena.give_back(third)
    back = parking.bring_back(parked)
    assert place.read(back[0].address, back[0].nbytes, parking.event) == in_latents
    assert place.read(back[1].address, back[1].nbytes, parking.event) == in_context
    for lease in (*back, second):
        arena.give_back(lease)


def test_steps_out_of_turn_are_refused(arena: Arena, place: Place, parking: Parking) -> None:
    lease, _ = filled(arena, place, "job", 1)
    parked = parking.park([lease])
    with pytest.raises(ValueError, match="out still"):
        parking.bring_back(parked)
    parking.give_back(parked)
    with pytest.raises(ValueError, match="given back before"):
        parking.give_back(parked)
    parking.discard(parked)
    with pytest.raises(ValueError, match="discarded before"):
        parking.bring_back(parked)


@pytest.mark.parametrize("chunk_nbytes", [1 << 16, 100_000, 1 << 20])
def test_a_file_gives_the_same_bytes_as_memory(tmp_path: Path, chunk_nbytes: int) -> None:
    place = on_the_host()
    arena = place.arena(8)
    for store in (FileStore(tmp_path, chunk_nbytes), MemoryStore(chunk_nbytes)):
        parking = Parking(arena, store, 1 << 20)
        lease, content = filled(arena, place, type(store).__name__, 5)
        parked = parking.park([lease])
        parking.give_back(parked)
        (back,) = parking.bring_back(parked)
        assert place.read(back.address, back.nbytes, parking.event) == content
        arena.give_back(back)
        parking.close()
    arena.check()
    assert not list(tmp_path.iterdir()), "a file that no crash leaves behind"


def test_a_full_disk_is_a_resource_error_and_the_job_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = on_the_host()
    arena = place.arena(4)
    parking = Parking(arena, FileStore(tmp_path, 1 << 16), 1 << 20)
    lease, content = filled(arena, place, "job", 4)
    calls = []

    def pwrite(*arguments: object) -> int:
        calls.append(arguments)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return 1 << 16

    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", pwrite)
        with pytest.raises(ResourceError, match="No space left"):
            parking.park([lease])
    parking.check()
    assert parking.free_nbytes == 1 << 20
    assert place.read(lease.address, lease.nbytes) == content
    parking.close()
    arena.close()
