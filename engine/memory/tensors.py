"""Tensors in leased pages of an arena: a job's state, a clip's caches, the inputs of one launch.

    reservation   |  job-1                       |  clip-1         |    addresses, kept for the next
    lease         |[latents][keys]..[history]    |                 |    pages, while it is held

What is held anew gets addresses that were used before, so graphs that were captured with them are
replayed for the next job. There are as many ranges of a kind as were ever held at a time.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.arena import Arena, Lease, Reservation
from wan_trt.engine.memory.layout import Layout
from wan_trt.engine.memory.pages import pages_for
from wan_trt.engine.memory.parking import Parked, Parking
from wan_trt.engine.space import Space, Tensor

T = TypeVar("T")


class TensorMemory:
    """Gives tensors their memory, to any thread. Closing it closes its arena."""

    def __init__(self, arena: Arena, space: Space) -> None:
        """`space` is whose work uses tensors, if nothing else is said."""
        self.arena = arena
        self.space = space
        self._spare: dict[str, list[Reservation]] = defaultdict(list)
        self._numbers = itertools.count(1)
        self.lock = threading.RLock()
        """Held while pages change hands: between what makes room and who then takes it, and while
        something is parked, nobody else takes any."""
        self.make_room: Callable[[], bool] = lambda: False
        """Asked for pages where none are to be had; whether it has given any back. What it raises
        goes to whoever wants them."""

    def hold(self, kind: str, holder: str, layout: Layout, space: Space | None = None) -> Holding:
        """The layout's tensors, with undefined values, until they are given back. `holder` is who
        messages say has the memory, `space` whose work uses it (None: the memory's own).

        Raises ResourceError where it is not to be had; then nothing is held.
        """
        nbytes = pages_for(max(layout.nbytes, 1), self.arena.page_nbytes) * self.arena.page_nbytes
        with self.lock:
            reservation = self._reserve(kind, nbytes)
            try:
                lease = self.with_room(lambda: self.arena.lease(reservation, holder, 0, nbytes))
            except BaseException:
                self._spare[kind].append(reservation)
                raise
        return Holding(self, kind, lease, layout, space or self.space)

    def with_room(self, take: Callable[[], T]) -> T:
        """What `take` gives, tried again as long as it finds no pages and room is made. It may
        find none though their number is free: weights and other processes use the same memory.
        Raises the ResourceError that no room helps against."""
        with self.lock:
            while True:
                try:
                    return take()
                except ResourceError:
                    if not self.make_room():
                        raise

    def load_beside(self, load: Callable[[], T]) -> T:
        """What `load` gives, which takes memory that is not the arena's, such as an engine's
        weights. That of free pages is given back to the system before; where it is not enough, so
        is all that can make room, and `load` is called again, as long as that gives any: others
        may take pages meanwhile. Raises what `load` does, and what making room does."""
        self.arena.trim()
        while True:
            try:
                return load()
            except ResourceError:
                with self.lock:
                    room = False
                    while self.make_room():
                        room = True
                    room = bool(self.arena.trim()) or room
                if not room:
                    raise

    def reserve(self, kind: str, nbytes: int) -> Reservation:
        """A new range of addresses, see `Arena.reserve`; of a kind there may be several."""
        return self.arena.reserve(f"{kind}-{next(self._numbers)}", nbytes)

    def _reserve(self, kind: str, nbytes: int) -> Reservation:
        """The smallest spare range that is large enough, the one that came back last; else a new
        one in the place of a spare."""
        latest = reversed(self._spare[kind])
        spare = sorted(latest, key=lambda reservation: reservation.nbytes)
        for reservation in spare:
            if reservation.nbytes >= nbytes:
                self._spare[kind].remove(reservation)
                return reservation
        if spare:
            self._spare[kind].remove(spare[-1])
            self.arena.release(spare[-1])
        return self.reserve(kind, nbytes)

    def give_back(self, kind: str, lease: Lease) -> None:
        with self.lock:
            self.arena.give_back(lease)
            self.return_range(kind, lease.reservation)

    def return_range(self, kind: str, reservation: Reservation) -> None:
        """A range that has no pages is free for others."""
        with self.lock:
            self._spare[kind].append(reservation)

    def close(self) -> None:
        self.arena.close()


class Holding:
    """Tensors by name, at addresses that stay the same while it is held, also while parked.

    One space's work uses them at a time. From lane to lane they are handed on by an event: that of
    `end_use` is what the work of the next space waits for, and whoever takes the pages away.
    """

    def __init__(
        self, memory: TensorMemory, kind: str, lease: Lease, layout: Layout, space: Space
    ) -> None:
        self._memory = memory
        self._kind = kind
        self._lease: Lease | None = lease
        self._parked: tuple[Parking, Parked] | None = None
        self._reservation = lease.reservation
        self.space = space
        """Whose work uses the tensors now, or did last."""
        self._used: int | None = None
        self.in_use = True
        """Whether more of that work may come."""
        self.tensors: dict[str, Tensor] = {
            name: space.at(lease.address + layout.offsets[name], tensor.shape, tensor.dtype)
            for name, tensor in layout.shapes.items()
        }

    @property
    def address(self) -> int:
        """Of the first tensor."""
        return self._reservation.address

    @property
    def nbytes(self) -> int:
        """Of its range of addresses, in whole pages."""
        return self._reservation.nbytes

    @property
    def resident(self) -> bool:
        """Whether it has pages."""
        return self._lease is not None

    @property
    def parked(self) -> bool:
        return self._parked is not None

    def begin_use(self, space: Space) -> None:
        """From now on the work of `space` uses the tensors, behind that of whoever did before."""
        if space is not self.space:
            space.wait_for(self._used)
            self.space = space
        self.in_use = True

    def end_use(self) -> None:
        """All of that work is enqueued. Called by the thread that enqueued it."""
        self._used = self.space.mark(self._used)
        self.in_use = False

    def park(self, parking: Parking) -> None:
        """Copy everything out and give the pages back: the tensors must not be touched until
        `bring_back`. Raises ResourceError without room there; then nothing has changed."""
        assert self._lease is not None, "only what has pages can be parked"
        if self.in_use:
            self.end_use()
        parked = parking.park([self._lease], self._used)
        parking.give_back(parked)
        self._lease, self._parked = None, (parking, parked)

    def bring_back(self, space: Space | None = None) -> None:
        """The tensors are as they were, for the work of `space`; None: of who had them last.
        Raises ResourceError without pages; it stays parked."""
        assert self._parked is not None, "only what is parked can be brought back"
        parking, parked = self._parked
        (self._lease,) = parking.bring_back(parked)
        self._parked = None
        self.space = space or self.space
        self.space.wait_for(parking.event)
        self._used = self.space.mark(self._used)
        self.in_use = True

    def close(self) -> None:
        """Give the memory back, once nothing uses it any more; a second time nothing happens."""
        if self.in_use:
            self.space.wait()
        else:
            self.space.settle(self._used)
        with self._memory.lock:
            if self._lease is not None:
                lease, self._lease = self._lease, None
                self._memory.give_back(self._kind, lease)
            elif self._parked is not None:
                (parking, parked), self._parked = self._parked, None
                parking.discard(parked)
                self._memory.return_range(self._kind, self._reservation)
        if self._used is not None:
            self.space.forget(self._used)
            self._used = None

    def __enter__(self) -> Holding:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
