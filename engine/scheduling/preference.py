"""The policies: which job is preferred while all promises can wait.

A queue holds the jobs whose next unit may be handed out, by the expert that it needs. A job's key
changes only while it is not in the queue, so heaps do: what was removed stays in its heap until it
comes to the top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from heapq import heapify, heappop, heappush, heapreplace
from typing import Protocol

from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.live_job import Hope, LiveJob

Kind = ExpertName | None
"""The expert that a unit needs; None for conditioning and decoding."""

Key = tuple[float, ...]


class Policy(StrEnum):
    FIFO = "fifo"
    SHORTEST = "shortest"
    DEADLINE = "deadline"
    FAIR = "fair"

    @property
    def groups_experts(self) -> bool:
        """Whether units of the resident expert may go before the preferred one."""
        return self is not Policy.FIFO


class Preference(Protocol):
    def add(self, job: LiveJob) -> None: ...

    def remove(self, job: LiveJob) -> None:
        """A job that is in the queue."""
        ...

    def best(self, kinds: Iterable[Kind]) -> LiveJob | None:
        """The preferred one of those that need one of these."""
        ...

    def charge(self, job: LiveJob, seconds: float) -> None:
        """A unit of the job took so long."""
        ...

    def forget(self, job: LiveJob) -> None:
        """The job ended; it is not in the queue."""
        ...


def preference(policy: Policy) -> Preference:
    match policy:
        case Policy.FIFO:
            return Ordered(lambda job: (job.number,))
        case Policy.SHORTEST:
            return Ordered(lambda job: (job.weighted_s, job.number))
        case Policy.DEADLINE:
            return Ordered(by_deadline)
        case Policy.FAIR:
            return FairShare()


def by_deadline(job: LiveJob) -> Key:
    """Those with hope by due time, then the others, shortest first."""
    if job.hope is Hope.NONE:
        return (1, job.weighted_s, job.number)
    return (0, job.promise.due_s, job.number)


class Ordered:
    """By a key, the least first."""

    def __init__(self, key: Callable[[LiveJob], Key]) -> None:
        self._key = key
        self._heaps: dict[Kind, list[tuple[Key, int, LiveJob]]] = {}
        self._queued = 0

    def add(self, job: LiveJob) -> None:
        """`job.queued` counts how often it was added and removed: odd while it is in."""
        job.queued += 1
        self._queued += 1
        heap = self._heaps.setdefault(job.run.expert, [])
        heappush(heap, (self._key(job), job.queued, job))

    def remove(self, job: LiveJob) -> None:
        job.queued += 1
        self._queued -= 1
        heap = self._heaps[job.run.expert]
        if len(heap) > 64 + 2 * self._queued:
            heap[:] = [entry for entry in heap if entry[1] == entry[2].queued]
            heapify(heap)

    def best(self, kinds: Iterable[Kind]) -> LiveJob | None:
        tops = [top for kind in kinds if (top := self._top(kind))]
        return min(tops)[2] if tops else None

    def charge(self, job: LiveJob, seconds: float) -> None:
        pass

    def forget(self, job: LiveJob) -> None:
        pass

    def _top(self, kind: Kind) -> tuple[Key, int, LiveJob] | None:
        heap = self._heaps.get(kind)
        while heap and heap[0][1] != heap[0][2].queued:
            heappop(heap)
        return heap[0] if heap else None


class _Owner:
    """`served` is service in seconds by priority. `kinds` are the heaps that have an entry of the
    owner."""

    __slots__ = ("jobs", "kinds", "number", "queue", "served")

    def __init__(self, number: int) -> None:
        self.number = number
        self.served = 0.0
        self.jobs: set[str] = set()
        self.kinds: set[Kind] = set()
        self.queue = Ordered(_by_own_deadline)


def _by_own_deadline(job: LiveJob) -> Key:
    deadline_s = job.submission.deadline_s
    return (job.bound_s if deadline_s is None else deadline_s, job.number)


class FairShare:
    """The owner with the least service goes first (start-time fair queueing). Service only grows,
    so an old entry in a heap of owners is never too late."""

    def __init__(self) -> None:
        self._owners: dict[str, _Owner] = {}
        self._heaps: dict[Kind, list[tuple[float, int, _Owner]]] = {}
        self._clock = 0.0  # service of the owner last preferred
        self._count = 0

    def add(self, job: LiveJob) -> None:
        name = job.submission.owner
        owner = self._owners.get(name)
        if owner is None:
            self._count += 1
            owner = self._owners[name] = _Owner(self._count)
        if not owner.jobs:  # having been away earns no credit
            owner.served = max(owner.served, self._clock)
        owner.jobs.add(job.job_id)
        owner.queue.add(job)
        kind = job.run.expert
        if kind not in owner.kinds:
            owner.kinds.add(kind)
            heappush(self._heaps.setdefault(kind, []), (owner.served, owner.number, owner))

    def remove(self, job: LiveJob) -> None:
        self._owners[job.submission.owner].queue.remove(job)

    def best(self, kinds: Iterable[Kind]) -> LiveJob | None:
        tops = [top for kind in kinds if (top := self._top(kind))]
        if not tops:
            return None
        served, _, owner = min(tops)
        self._clock = max(self._clock, served)
        return owner.queue.best(kinds)

    def charge(self, job: LiveJob, seconds: float) -> None:
        self._owners[job.submission.owner].served += seconds / job.submission.priority

    def forget(self, job: LiveJob) -> None:
        """An owner without jobs is remembered as long as the others have had less."""
        self._owners[job.submission.owner].jobs.discard(job.job_id)
        if len(self._owners) > 64 + 2 * sum(bool(owner.jobs) for owner in self._owners.values()):
            self._owners = {
                name: owner
                for name, owner in self._owners.items()
                if owner.jobs or owner.served > self._clock
            }

    def _top(self, kind: Kind) -> tuple[float, int, _Owner] | None:
        heap = self._heaps.get(kind)
        while heap:
            served, number, owner = heap[0]
            if owner.queue.best((kind,)) is None:
                heappop(heap)
                owner.kinds.discard(kind)
            elif served < owner.served:
                heapreplace(heap, (owner.served, number, owner))
            else:
                return heap[0]
        return None
