"""By when jobs are promised, and whether all promises can be kept.

Promises are sorted by due time, in blocks of some dozens with their sums, so that a change costs
O(sqrt n). Times are on the caller's clock.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_BLOCK = 48


class Promise:
    """A job is done by `due_s`, and is `work_s` seconds of work until then. While it is `held` it
    need not be kept, but its work still counts for those due later. It is broken `reserve_s` after
    it is due. While it is in a timetable, only that changes it; else that is sorted anew."""

    __slots__ = ("_block", "due_s", "held", "job_id", "number", "reserve_s", "work_s")

    def __init__(self, job_id: str, number: int, due_s: float, work_s: float) -> None:
        """`number` decides between equal due times."""
        self.job_id = job_id
        self.number = number
        self.due_s = due_s
        self.work_s = work_s
        self.held = False
        self.reserve_s = 0.0
        self._block: _Block | None = None

    def __lt__(self, other: Promise) -> bool:
        return (self.due_s, self.number) < (other.due_s, other.number)


class _Block:
    """Neighbours. `margin_s` is the least of due time less the work up to it, of this block
    alone."""

    __slots__ = ("margin_s", "promises", "work_s")

    def __init__(self, promises: list[Promise]) -> None:
        self.promises = promises
        for promise in promises:
            promise._block = self
        self.sum_up()

    def sum_up(self) -> None:
        work_s, margin_s = 0.0, math.inf
        for promise in self.promises:
            work_s += promise.work_s
            margin = promise.due_s - work_s
            if margin < margin_s and not promise.held:
                margin_s = margin
        self.work_s, self.margin_s = work_s, margin_s


@dataclass(frozen=True)
class Violation:
    """The first promise that will be broken, and by how many seconds the worst one is late."""

    promise: Promise
    late_s: float


class Timetable:
    """Feasible at a time when every promise is due no earlier than all work due up to it is done.
    Whoever works by earliest due time then keeps them all."""

    def __init__(self, promises: Iterable[Promise] = ()) -> None:
        self._sort(promises)

    def _sort(self, promises: Iterable[Promise]) -> None:
        ordered = sorted(promises)
        starts = range(0, len(ordered), _BLOCK // 2)
        self._blocks = [_Block(ordered[start : start + _BLOCK // 2]) for start in starts]

    def __iter__(self) -> Iterator[Promise]:
        """By due time."""
        for block in self._blocks:
            yield from block.promises

    @property
    def work_s(self) -> float:
        return sum(block.work_s for block in self._blocks)

    def add(self, promise: Promise) -> None:
        for block in self._blocks:
            if promise < block.promises[-1]:
                break
        else:
            if not self._blocks:
                self._blocks.append(_Block([promise]))
                return
            block = self._blocks[-1]
        insort(block.promises, promise)
        promise._block = block
        if len(block.promises) > _BLOCK:
            half = len(block.promises) // 2
            upper = _Block(block.promises[half:])
            del block.promises[half:]
            self._blocks.insert(self._blocks.index(block) + 1, upper)
        block.sum_up()

    def remove(self, promise: Promise) -> None:
        block = _block(promise)
        block.promises.remove(promise)
        promise._block = None
        if block.promises:
            block.sum_up()
        else:
            self._blocks.remove(block)

    def work_left(self, promise: Promise, work_s: float) -> None:
        promise.work_s = work_s
        _block(promise).sum_up()

    def postpone(self, promise: Promise, due_s: float) -> None:
        self.remove(promise)
        promise.due_s = due_s
        self.add(promise)

    def sort_anew(self) -> None:
        """Due times and work were changed from outside, of many at once."""
        self._sort(self)

    def hold(self, promise: Promise, held: bool) -> None:
        promise.held = held
        _block(promise).sum_up()

    def latest_start_s(self, before: Promise | None = None) -> float:
        """Until when all promises, or those due before one, can wait; infinite where there is
        none. Less than now: the timetable is not feasible."""
        work_s, latest = 0.0, math.inf
        end = before._block if before else None
        for block in self._blocks:
            if block is end:
                break
            latest = min(latest, block.margin_s - work_s)
            work_s += block.work_s
        if end is not None:
            for promise in end.promises:
                if promise is before:
                    break
                work_s += promise.work_s
                if not promise.held:
                    latest = min(latest, promise.due_s - work_s)
        return latest

    def violation(self, now: float, tolerance_s: float = 0.0) -> Violation | None:
        """What will be broken, by more than the tolerance."""
        late_s = now - self.latest_start_s()
        if late_s <= tolerance_s:
            return None
        done_s = now
        for promise in self:
            done_s += promise.work_s
            if promise.held:
                continue
            if done_s > promise.due_s + promise.reserve_s + tolerance_s:
                return Violation(promise, late_s)
        return None  # there are reserves; and sums in another order differ by rounding

    def earliest_s(self, now: float, work_s: float) -> float:
        """The earliest due time of a promise of `work_s` more seconds that leaves the others as
        they are kept."""
        start_s = due_s = now + work_s
        before_s, last, before_last_s = 0.0, None, 0.0
        for block in self._blocks:
            if block.margin_s - before_s < start_s:
                last, before_last_s = block, before_s
            before_s += block.work_s
        if last is not None:  # one of these cannot wait: come after it
            for promise in last.promises:
                before_last_s += promise.work_s
                if promise.due_s - before_last_s < start_s and not promise.held:
                    due_s = max(promise.due_s, start_s + before_last_s)
        return due_s


def _block(promise: Promise) -> _Block:
    assert promise._block is not None, f"{promise.job_id} is not in the timetable"
    return promise._block
