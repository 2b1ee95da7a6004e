"""The arena: one pool of pages for every address range of the engine.

    reservations   |  scratch            |  vae_decoder    |  job-7        |    addresses, for life
    leases         |[high     ]          |                 |[job-7][job-7] |    pages, while in use
                     |  |  |  |                               |  |   |  |
    pool            [ 4][ 5][ 0][ 1]      [ 2][ 3] free      [ 6][ 7][ 8][ 9]

A range is reserved once and keeps its addresses, so that what was captured with them stays valid.
A lease puts pages behind a part of it. One holder has a reservation at a time: contexts that never
run together share their scratch by leasing it in turn, or by handing a lease on.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.backend import PageBackend
from wan_trt.engine.memory.pages import PagePool, pages_for


@dataclass(frozen=True)
class Reservation:
    """A named range of addresses, fixed until it is released; `nbytes` are whole pages."""

    name: str
    address: int
    nbytes: int


@dataclass(frozen=True)
class Lease:
    """Pages behind `nbytes` (whole pages) of a reservation from `offset` on, until given back."""

    number: int
    reservation: Reservation
    holder: str
    offset: int
    nbytes: int

    @property
    def address(self) -> int:
        return self.reservation.address + self.offset

    def overlaps(self, offset: int, nbytes: int) -> bool:
        return self.offset < offset + nbytes and offset < self.offset + self.nbytes


@dataclass(frozen=True)
class Usage:
    """Pages of an arena; `held` has (reservation, holder) -> pages."""

    pages: int
    free: int
    page_nbytes: int
    held: Mapping[tuple[str, str], int]

    def describe(self) -> str:
        """ "scratch: 300 pages for high, job-7: 20 pages for job-7", largest first."""
        largest = sorted(self.held.items(), key=lambda item: (-item[1], item[0]))
        parts = (f"{name}: {count} pages for {holder}" for (name, holder), count in largest)
        return ", ".join(parts) or "nothing"


class Arena:
    """Reservations and leases of one pool. Any thread may call it.

    What was launched on a lease may still run when it is given back: the backend waits for it.
    """

    def __init__(self, backend: PageBackend, pages: int) -> None:
        """`pages` is the most that is committed at a time."""
        self._backend = backend
        self._pool = PagePool(pages)
        self._reservations: dict[str, Reservation] = {}
        self._leases: dict[str, dict[Lease, tuple[int, ...]]] = {}
        self._granted = 0
        self._lock = threading.RLock()

    @property
    def page_nbytes(self) -> int:
        return self._backend.page_nbytes

    @property
    def nbytes(self) -> int:
        """Of all pages, free or not."""
        return self._pool.count * self.page_nbytes

    @property
    def free_nbytes(self) -> int:
        """What can be leased now."""
        return self._pool.free * self.page_nbytes

    @property
    def usage(self) -> Usage:
        with self._lock:
            held: Counter[tuple[str, str]] = Counter()
            for lease in self._all_leases():
                held[lease.reservation.name, lease.holder] += lease.nbytes // self.page_nbytes
            return Usage(self._pool.count, self._pool.free, self.page_nbytes, held)

    def reserve(self, name: str, nbytes: int) -> Reservation:
        """A range of at least `nbytes`, without pages; it may be larger than the pool.

        Raises ResourceError where no addresses are left, ValueError for a name that is taken.
        """
        with self._lock:
            if name in self._reservations or nbytes <= 0:
                raise ValueError(f"reservation {name!r} exists or is empty ({nbytes} bytes)")
            nbytes = pages_for(nbytes, self.page_nbytes) * self.page_nbytes
            reservation = Reservation(name, self._backend.reserve(nbytes), nbytes)
            self._reservations[name], self._leases[name] = reservation, {}
            return reservation

    def release(self, reservation: Reservation) -> None:
        """Give up a range and its addresses. Raises ValueError while any of it is leased."""
        with self._lock:
            self._known(reservation)
            if leases := self._leases[reservation.name]:
                raise ValueError(f"{reservation.name} is released while {list(leases)} are out")
            self._backend.release(reservation.address)
            del self._reservations[reservation.name], self._leases[reservation.name]

    def lease(
        self, reservation: Reservation, holder: str, offset: int = 0, nbytes: int | None = None
    ) -> Lease:
        """Pages behind `nbytes` from `offset` on, a multiple of the page; None: all the rest. What
        the pages hold is not defined.

        Raises ResourceError without free pages or while another holder has leases of the
        reservation, ValueError for a part outside of it or one that the holder has already.
        """
        with self._lock:
            self._known(reservation)
            part = reservation.nbytes - offset if nbytes is None else nbytes
            if (
                offset % self.page_nbytes
                or offset < 0
                or not 0 < part <= reservation.nbytes - offset
            ):
                raise ValueError(f"{reservation} has no part of {part} bytes at {offset}")
            count = pages_for(part, self.page_nbytes)
            self._check_turn(reservation, holder, offset, count * self.page_nbytes)
            if count > self._pool.free:
                raise self._exhausted(reservation, holder, count)
            pages = self._pool.take(count)
            try:
                self._backend.commit(reservation.address + offset, pages)
            except BaseException:
                self._pool.put_back(pages)
                raise
            self._granted += 1
            lease = Lease(self._granted, reservation, holder, offset, count * self.page_nbytes)
            self._leases[reservation.name][lease] = pages
            return lease

    @contextmanager
    def leased(
        self, reservation: Reservation, holder: str, offset: int = 0, nbytes: int | None = None
    ) -> Iterator[Lease]:
        """A lease for as long as a block runs."""
        lease = self.lease(reservation, holder, offset, nbytes)
        try:
            yield lease
        finally:
            self.give_back(lease)

    def give_back(self, lease: Lease) -> None:
        """The pages are free for others; the addresses stay. Raises ValueError the second time."""
        with self._lock:
            pages = self._pages(lease)
            self._backend.decommit(lease.address, len(pages))
            del self._leases[lease.reservation.name][lease]
            self._pool.put_back(pages)

    def hand_on(self, lease: Lease, holder: str) -> Lease:
        """The same pages at the same addresses for another holder, whose work comes behind that of
        the first (on its stream, or after an event): nothing is waited for, nothing is mapped. The
        lease that is handed on is over. Raises ResourceError while its holder has others of the
        reservation."""
        with self._lock:
            pages, leases = self._pages(lease), self._leases[lease.reservation.name]
            if holder != lease.holder and len(leases) > 1:
                raise _held(lease.reservation, holder, lease.holder)
            self._granted += 1
            handed = replace(lease, number=self._granted, holder=holder)
            leases[handed] = pages
            del leases[lease]
            return handed

    def trim(self) -> int:
        """Give the memory of free pages back to the system; its bytes."""
        with self._lock:
            return self._backend.trim()

    def check(self) -> None:
        """Raises AssertionError unless every page is free or owned by exactly one lease, and what
        the backend has committed is what is leased. Takes time by the page: for idle moments."""
        with self._lock:
            granted = [item for leases in self._leases.values() for item in leases.items()]
            self._pool.check(page for _, pages in granted for page in pages)
            leased: dict[int, int] = {}
            for lease, pages in granted:
                assert len(pages) * self.page_nbytes == lease.nbytes, lease
                assert self._reservations.get(lease.reservation.name) == lease.reservation, lease
                for index, page in enumerate(pages):
                    address = lease.address + index * self.page_nbytes
                    assert address not in leased, f"{address:#x} is leased twice: {lease}"
                    leased[address] = page
            committed = dict(self._backend.committed())
            assert committed == leased, (
                f"committed but not leased {sorted(committed.items() - leased.items())}, "
                f"leased but not committed {sorted(leased.items() - committed.items())}"
            )

    def close(self) -> None:
        """Give everything back; the arena is not used any more."""
        with self._lock:
            self._leases.clear()
            self._reservations.clear()
            self._backend.close()

    def _known(self, reservation: Reservation) -> None:
        if self._reservations.get(reservation.name) != reservation:
            raise ValueError(f"{reservation} is not of this arena, or was released")

    def _pages(self, lease: Lease) -> tuple[int, ...]:
        pages = self._leases.get(lease.reservation.name, {}).get(lease)
        if pages is None:
            raise ValueError(f"{lease} was given back before, or is of another arena")
        return pages

    def _all_leases(self) -> Iterator[Lease]:
        return itertools.chain.from_iterable(self._leases.values())

    def _check_turn(self, reservation: Reservation, holder: str, offset: int, nbytes: int) -> None:
        for held in self._leases[reservation.name]:
            if held.holder != holder:
                raise _held(reservation, holder, held.holder)
            if held.overlaps(offset, nbytes):
                raise ValueError(f"{holder} has {held} already")

    def _exhausted(self, reservation: Reservation, holder: str, count: int) -> ResourceError:
        usage = self.usage
        megabytes = count * self.page_nbytes / 1e6
        return ResourceError(
            f"{reservation.name} for {holder} wants {count} pages ({megabytes:.0f} MB); "
            f"{usage.free} of {usage.pages} are free; held are {usage.describe()}",
            action="run fewer jobs at a time or a smaller size, or wait",
        )


def _held(reservation: Reservation, wanted_by: str, holder: str) -> ResourceError:
    return ResourceError(
        f"{wanted_by} wants {reservation.name}, which {holder} has",
        expected="one holder at a time",
        action="wait until it is given back",
    )
