"""The arena over real memory: exclusive turns, fixed addresses, exhaustion."""

from __future__ import annotations

import pytest
from memory_places import Place

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.host import HostPages
from wan_trt.engine.memory.pages import PagePool, pages_for


def test_a_reservation_is_whole_pages_and_takes_none(arena: Arena, page: int) -> None:
    scratch = arena.reserve("scratch", 3 * page + 1)
    assert scratch.nbytes == 4 * page
    assert arena.free_nbytes == 8 * page


def test_a_reservation_may_be_larger_than_the_pool(arena: Arena, page: int) -> None:
    cache = arena.reserve("cache", 100 * page)
    with arena.leased(cache, "job-1", offset=90 * page, nbytes=8 * page) as lease:
        assert lease.address == cache.address + 90 * page
        assert arena.free_nbytes == 0


def test_addresses_stay_when_pages_come_and_go(arena: Arena, place: Place, page: int) -> None:
    scratch, other = arena.reserve("scratch", 4 * page), arena.reserve("other", 6 * page)
    first = arena.lease(scratch, "high")
    place.write(first.address, b"\1" * 4 * page)
    arena.give_back(first)
    with arena.leased(other, "vae") as kept:
        place.write(kept.address, b"\2" * 6 * page)
        second = arena.lease(scratch, "low", nbytes=2 * page)
        assert second.address == first.address == scratch.address
        place.write(second.address, b"\3" * 2 * page)
        assert place.read(kept.address, 6 * page) == b"\2" * 6 * page
    arena.give_back(second)


def test_exhaustion_says_what_is_wanted_what_is_free_and_who_has_the_rest(
    arena: Arena, page: int
) -> None:
    cache, scratch = arena.reserve("vae_decoder", 5 * page), arena.reserve("scratch", 4 * page)
    held = arena.lease(cache, "job-7")
    with pytest.raises(ResourceError) as caught:
        arena.lease(scratch, "high")
    assert "scratch for high wants 4 pages" in str(caught.value)
    assert "3 of 8 are free" in str(caught.value)
    assert "vae_decoder: 5 pages for job-7" in str(caught.value)
    arena.check()
    arena.give_back(held)
    arena.give_back(arena.lease(scratch, "high"))


def test_one_holder_at_a_time(arena: Arena, page: int) -> None:
    scratch = arena.reserve("scratch", 4 * page)
    first = arena.lease(scratch, "high", nbytes=page)
    with pytest.raises(ResourceError, match="low wants scratch, which high has"):
        arena.lease(scratch, "low", offset=2 * page)
    second = arena.lease(scratch, "high", offset=page, nbytes=page)
    with pytest.raises(ValueError, match="already"):
        arena.lease(scratch, "high", offset=page)
    arena.give_back(first)
    arena.give_back(second)
    arena.give_back(arena.lease(scratch, "low"))


def test_handing_on_keeps_the_pages_and_what_is_in_them(
    arena: Arena, place: Place, page: int
) -> None:
    scratch = arena.reserve("scratch", 2 * page)
    high = arena.lease(scratch, "high")
    place.write(high.address + page, b"scratch")
    low = arena.hand_on(high, "low")
    assert place.read(low.address + page, 7) == b"scratch"
    with pytest.raises(ValueError, match="given back before"):
        arena.give_back(high)
    with pytest.raises(ResourceError, match="which low has"):
        arena.lease(scratch, "high")
    arena.give_back(low)


def test_a_part_of_what_a_holder_has_is_not_handed_on(arena: Arena, page: int) -> None:
    scratch = arena.reserve("scratch", 2 * page)
    leases = [arena.lease(scratch, "high", index * page, page) for index in range(2)]
    with pytest.raises(ResourceError, match="which high has"):
        arena.hand_on(leases[0], "low")
    for lease in leases:
        arena.give_back(lease)


def test_what_is_given_back_twice_or_released_while_leased_is_refused(
    arena: Arena, page: int
) -> None:
    scratch = arena.reserve("scratch", page)
    lease = arena.lease(scratch, "high")
    with pytest.raises(ValueError, match="while"):
        arena.release(scratch)
    arena.give_back(lease)
    with pytest.raises(ValueError, match="given back before"):
        arena.give_back(lease)
    arena.release(scratch)
    with pytest.raises(ValueError, match="released"):
        arena.lease(scratch, "high")


@pytest.mark.parametrize(("offset", "count"), [(0.5, 1), (-1, 1), (0, 3), (2, None), (0, 0)])
def test_parts_outside_of_a_reservation_are_refused(offset: float, count: int | None) -> None:
    backend = HostPages()
    arena, page = Arena(backend, 8), backend.page_nbytes
    scratch = arena.reserve("scratch", 2 * page)
    with pytest.raises(ValueError, match="no part"):
        arena.lease(scratch, "high", int(offset * page), None if count is None else count * page)
    arena.close()


def test_a_commit_that_fails_costs_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = HostPages()
    arena = Arena(backend, pages=4)
    scratch = arena.reserve("scratch", 2 * backend.page_nbytes)
    with monkeypatch.context() as broken:

        def commit(*_: object) -> None:
            raise ResourceError("the GPU has no memory left")

        broken.setattr(backend, "commit", commit)
        with pytest.raises(ResourceError, match="no memory left"):
            arena.lease(scratch, "high")
    assert arena.usage.free == 4
    arena.check()
    arena.give_back(arena.lease(scratch, "high"))
    arena.close()


def test_check_finds_what_the_backend_lost() -> None:
    backend = HostPages()
    arena = Arena(backend, pages=4)
    arena.lease(arena.reserve("scratch", 2 * backend.page_nbytes), "high")
    arena.check()
    backend.decommit(next(iter(backend.committed())), 1)
    with pytest.raises(AssertionError, match="leased but not committed"):
        arena.check()
    arena.close()


def test_check_finds_pages_that_are_lost_or_owned_twice() -> None:
    pool = PagePool(4)
    pages = pool.take(2)
    pool.check(pages)
    with pytest.raises(AssertionError, match=r"lost \[1\]"):
        pool.check(pages[:1])
    with pytest.raises(AssertionError, match=r"owned twice \[0\]"):
        pool.check((*pages, 0))
    with pytest.raises(AssertionError, match=r"not taken \[3\]"):
        pool.check((*pages, 3))
    with pytest.raises(ValueError, match="not all in use"):
        pool.put_back((3,))


def test_pages_that_came_back_last_go_out_first() -> None:
    pool = PagePool(8)
    pool.put_back(pool.take(3))
    assert pool.take(2) == (0, 1)


def test_bytes_are_rounded_up_to_pages() -> None:
    assert [pages_for(nbytes, 10) for nbytes in (0, 1, 10, 11)] == [0, 1, 1, 2]
