"""Parked state: what a lease holds, kept elsewhere while its pages serve others.

    park        starts copying leases into chunks of a store
    give_back   waits for the copies; the pages are free
    bring_back  leases the same addresses again, with other pages, and starts copying into them

A store is cut into equal chunks, so it never fragments. Bytes come back as they were, at the
addresses where they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.arena import Arena, Lease
from wan_trt.engine.memory.pages import PagePool, pages_for

CHUNK_NBYTES = 32 << 20
"""Large enough that copies run at the full speed of a link, small beside a job's state."""


class ParkingStore(Protocol):
    """Chunks of memory, or of a file, that copies go to and come from in the order of the calls.

    A GPU's copies run on a stream of the store: `wait_for` lets those that follow wait for an event
    of another stream, `event` is one that another stream can wait for. On a host both mean nothing.
    """

    @property
    def chunk_nbytes(self) -> int: ...

    @property
    def event(self) -> int | None:
        """Reached when all copies up to the last `finish` are done."""
        ...

    def wait_for(self, event: int) -> None: ...

    def save(self, chunk: int, address: int, nbytes: int) -> None:
        """Start copying from an address into a chunk. Raises ResourceError without room."""
        ...

    def load(self, chunk: int, address: int, nbytes: int) -> None:
        """Start copying from a chunk to an address."""
        ...

    def finish(self) -> None:
        """The copies that belong together are all started."""
        ...

    def wait(self) -> None:
        """Return when every copy that was started is done."""
        ...

    def close(self) -> None:
        """Give the memory or the file up, after all copies."""
        ...


@dataclass(frozen=True)
class Parked:
    """Leases whose contents lie in a store; `number` tells two of the same leases apart."""

    number: int
    leases: tuple[Lease, ...]

    @property
    def nbytes(self) -> int:
        return sum(lease.nbytes for lease in self.leases)


class Parking:
    """What is parked of one arena, in one store. For one thread at a time."""

    def __init__(self, arena: Arena, store: ParkingStore, capacity_nbytes: int) -> None:
        """`capacity_nbytes` is the most that lies in the store, rounded up to chunks."""
        self._arena, self._store = arena, store
        self._pool = PagePool(pages_for(capacity_nbytes, store.chunk_nbytes))
        self._chunks: dict[Parked, tuple[int, ...]] = {}
        self._leased: set[Parked] = set()
        self._parked = 0

    @property
    def free_nbytes(self) -> int:
        """What can be parked now, but for the rounding of each lease to chunks."""
        return self._pool.free * self._store.chunk_nbytes

    @property
    def event(self) -> int | None:
        """See `ParkingStore.event`."""
        return self._store.event

    def park(self, leases: Sequence[Lease], after: int | None = None) -> Parked:
        """Start copying what the leases hold; on a GPU after the event `after`, which whatever
        writes it last has recorded. The leases stay out until `give_back`.

        Raises ResourceError without room; then nothing is parked.
        """
        count = sum(pages_for(lease.nbytes, self._store.chunk_nbytes) for lease in leases)
        if count > self._pool.free:
            megabytes = count * self._store.chunk_nbytes / 1e6
            raise ResourceError(
                f"{', '.join(sorted({lease.holder for lease in leases}))} wants {megabytes:.0f} MB "
                f"to be parked in; {self.free_nbytes / 1e6:.0f} MB of "
                f"{self._pool.count * self._store.chunk_nbytes / 1e6:.0f} MB are free",
                action="park fewer jobs, or allow more host memory for it",
            )
        chunks = self._pool.take(count)
        try:
            if after is not None:
                self._store.wait_for(after)
            self._copy(self._store.save, leases, chunks)
        except BaseException:
            self._store.wait()
            self._pool.put_back(chunks)
            raise
        self._parked += 1
        parked = Parked(self._parked, tuple(leases))
        self._chunks[parked] = chunks
        self._leased.add(parked)
        return parked

    def give_back(self, parked: Parked) -> None:
        """Wait until everything is copied, and give the leases back to the arena."""
        self._known(parked)
        if parked not in self._leased:
            raise ValueError(f"the leases of {parked} were given back before")
        self._store.wait()
        for lease in parked.leases:
            self._arena.give_back(lease)
        self._leased.remove(parked)

    def bring_back(self, parked: Parked) -> tuple[Lease, ...]:
        """New leases of the same parts for the same holders; what was parked is being copied into
        them and forgotten here. On a GPU whatever reads it waits for `event`.

        Raises ResourceError where pages or turns are not to be had; then all stays parked.
        """
        self._known(parked)
        if parked in self._leased:
            raise ValueError(f"the leases of {parked} are out still")
        leases: list[Lease] = []
        try:
            for old in parked.leases:
                leases.append(
                    self._arena.lease(old.reservation, old.holder, old.offset, old.nbytes)
                )
            self._copy(self._store.load, leases, self._chunks[parked])
        except BaseException:
            self._store.wait()
            for lease in leases:
                self._arena.give_back(lease)
            raise
        self.discard(parked)
        return tuple(leases)

    def discard(self, parked: Parked) -> None:
        """Forget what is parked; leases that are out still stay so."""
        self._known(parked)
        self._pool.put_back(self._chunks.pop(parked))
        self._leased.discard(parked)

    def check(self) -> None:
        """Raises AssertionError unless every chunk is free or holds one thing."""
        self._pool.check(chunk for chunks in self._chunks.values() for chunk in chunks)

    def close(self) -> None:
        """Forget everything and give the store up."""
        for parked in list(self._chunks):
            self.discard(parked)
        self._store.close()

    def _copy(
        self,
        copy: Callable[[int, int, int], None],
        leases: Sequence[Lease],
        chunks: Sequence[int],
    ) -> None:
        pieces = (piece for lease in leases for piece in self._pieces(lease))
        for chunk, (address, nbytes) in zip(chunks, pieces, strict=True):
            copy(chunk, address, nbytes)
        self._store.finish()

    def _pieces(self, lease: Lease) -> Iterator[tuple[int, int]]:
        """(address, bytes) of the parts of a lease that go into one chunk each."""
        size = self._store.chunk_nbytes
        for offset in range(0, lease.nbytes, size):
            yield lease.address + offset, min(size, lease.nbytes - offset)

    def _known(self, parked: Parked) -> None:
        if parked not in self._chunks:
            raise ValueError(f"{parked} was brought back or discarded before")
