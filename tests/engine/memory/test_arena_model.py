"""Random reservations, leases and returns over real memory: the books always balance."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from memory_places import OpenPlace, Place, on_a_gpu, on_a_made_up_driver, on_the_host

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.arena import Lease, Reservation

HOLDERS = ("high", "low", "vae")


class ArenaModel(RuleBasedStateMachine):
    """Every page of a lease gets a stamp of its own. Were one page behind two addresses, or another
    page behind an old one, a stamp would be wrong."""

    reservations = Bundle("reservations")
    open_place: ClassVar[OpenPlace] = staticmethod(on_the_host)

    def __init__(self) -> None:
        super().__init__()
        self.names = 0
        self.stamps: dict[Lease, int] = {}
        self.addresses: dict[Reservation, int] = {}

    @initialize(pages=st.integers(1, 12))
    def open(self, pages: int) -> None:
        self.pages = pages
        self.place: Place = type(self).open_place()
        self.arena = self.place.arena(pages)

    @rule(target=reservations, size=st.floats(0.01, 8))
    def reserve(self, size: float) -> Reservation:
        self.names += 1
        nbytes = int(size * self.page)
        reservation = self.arena.reserve(f"range-{self.names}", nbytes)
        self.addresses[reservation] = reservation.address
        assert reservation.nbytes >= nbytes
        return reservation

    @rule(
        reservation=reservations,
        holder=st.sampled_from(HOLDERS),
        offset=st.integers(0, 7),
        count=st.integers(1, 8),
    )
    def lease(self, reservation: Reservation, holder: str, offset: int, count: int) -> None:
        offset, nbytes = offset * self.page, count * self.page
        inside = offset + nbytes <= reservation.nbytes
        others = [held for held in self.stamps if held.reservation == reservation]
        turn = all(held.holder == holder for held in others)
        apart = not any(held.overlaps(offset, nbytes) for held in others)
        if not inside or (turn and not apart):
            with pytest.raises(ValueError, match=r"no part|already"):
                self.arena.lease(reservation, holder, offset, nbytes)
        elif not turn or count > self.free:
            with pytest.raises(ResourceError):
                self.arena.lease(reservation, holder, offset, nbytes)
        else:
            lease = self.arena.lease(reservation, holder, offset, nbytes)
            self.stamp(lease)

    @precondition(lambda self: self.stamps)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(list(self.stamps)))
        self.arena.give_back(lease)
        del self.stamps[lease]
        with pytest.raises(ValueError, match="given back"):
            self.arena.give_back(lease)

    @precondition(lambda self: self.stamps)
    @rule(data=st.data(), holder=st.sampled_from(HOLDERS))
    def hand_on(self, data: st.DataObject, holder: str) -> None:
        lease = data.draw(st.sampled_from(list(self.stamps)))
        several = sum(held.reservation == lease.reservation for held in self.stamps) > 1
        if several and holder != lease.holder:
            with pytest.raises(ResourceError):
                self.arena.hand_on(lease, holder)
        else:
            handed = self.arena.hand_on(lease, holder)
            assert (handed.address, handed.nbytes) == (lease.address, lease.nbytes)
            self.stamps[handed] = self.stamps.pop(lease)

    @rule(target=reservations, reservation=consumes(reservations))
    def release(self, reservation: Reservation) -> object:
        if any(held.reservation == reservation for held in self.stamps):
            with pytest.raises(ValueError, match="while"):
                self.arena.release(reservation)
            return reservation
        self.arena.release(reservation)
        del self.addresses[reservation]
        return multiple()

    @invariant()
    def books_balance(self) -> None:
        self.arena.check()
        assert self.arena.free_nbytes == self.free * self.page
        assert sum(self.arena.usage.held.values()) == self.pages - self.free

    @invariant()
    def leases_keep_what_was_written(self) -> None:
        for lease, stamp in self.stamps.items():
            for index, address in enumerate(self.page_addresses(lease)):
                assert self.place.read(address, 2) == (stamp + index).to_bytes(2)

    @invariant()
    def addresses_stay(self) -> None:
        assert all(range_.address == address for range_, address in self.addresses.items())

    @property
    def page(self) -> int:
        return self.place.page_nbytes

    @property
    def free(self) -> int:
        return self.pages - sum(lease.nbytes // self.page for lease in self.stamps)

    def page_addresses(self, lease: Lease) -> range:
        return range(lease.address, lease.address + lease.nbytes, self.page)

    def stamp(self, lease: Lease) -> None:
        self.stamps[lease] = 16 * lease.number  # a lease has at most 12 pages
        for index, address in enumerate(self.page_addresses(lease)):
            self.place.write(address, (self.stamps[lease] + index).to_bytes(2))

    def teardown(self) -> None:
        for lease in self.stamps:
            self.arena.give_back(lease)
        self.arena.check()
        assert self.arena.usage.free == self.pages
        self.arena.close()


class MadeUpDriverModel(ArenaModel):
    open_place = staticmethod(on_a_made_up_driver)


class GpuModel(ArenaModel):
    open_place = staticmethod(on_a_gpu)


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=40, deadline=None)


def test_random_use_on_a_host() -> None:
    run_state_machine_as_test(ArenaModel, settings=_settings(60))


def test_random_use_of_a_made_up_driver() -> None:
    run_state_machine_as_test(MadeUpDriverModel, settings=_settings(25))


@pytest.mark.gpu
def test_random_use_of_a_gpu() -> None:
    on_a_gpu()
    run_state_machine_as_test(GpuModel, settings=_settings(25))
