"""The policies: which job is preferred while all promises can wait.

A queue holds the jobs whose next unit may be handed out, by what it needs. A job's key
changes only while it is not in the queue, so heaps do: what was removed stays in its heap until it
comes to the top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from heapq import heapify, heappop, heappush

from wan_trt.engine.scheduling.live_job import Hope, Kind, LiveJob

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


def preference(policy: Policy) -> Ordered:
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

    def arrive(self, job: LiveJob) -> None:
        """A new job, before it is added."""

    def add(self, job: LiveJob) -> None:
        """`job.moves` counts how often it was added and removed: odd while it is in."""
        job.moves += 1
        self._queued += 1
        heap = self._heaps.setdefault(job.kind, [])
        heappush(heap, (self._key(job), job.moves, job))

    def remove(self, job: LiveJob) -> None:
        job.moves += 1
        self._queued -= 1
        heap = self._heaps[job.kind]
        if len(heap) > 64 + 2 * self._queued:
            heap[:] = [entry for entry in heap if entry[1] == entry[2].moves]
            heapify(heap)

    def serve(self, job: LiveJob) -> None:
        """The job is handed out."""

    def best(self, kinds: Iterable[Kind]) -> LiveJob | None:
        """The preferred one of those that need one of these."""
        tops = [top for kind in kinds if (top := self._top(kind))]
        return min(tops)[2] if tops else None

    def _top(self, kind: Kind) -> tuple[Key, int, LiveJob] | None:
        heap = self._heaps.get(kind)
        while heap and heap[0][1] != heap[0][2].moves:
            heappop(heap)
        return heap[0] if heap else None


class FairShare(Ordered):
    """Owners share the machine (fair queueing with finish tags): a job's tag is its work by
    priority, counted on from its owner's job before; or from where service is, for having been
    away earns no credit. The least tag goes first, so a short job of an owner who had little goes
    before the rest of a long one."""

    def __init__(self) -> None:
        super().__init__(lambda job: (job.tag, job.number))
        self._tags: dict[str, float] = {}
        self._served = 0.0

    def arrive(self, job: LiveJob) -> None:
        owner = job.submission.owner
        job.tag = max(self._tags.get(owner, 0.0), self._served) + job.weighted_s
        self._tags[owner] = job.tag
        if len(self._tags) > 2 * self._queued + 64:  # who is not ahead need not be remembered
            self._tags = {name: tag for name, tag in self._tags.items() if tag > self._served}

    def serve(self, job: LiveJob) -> None:
        self._served = max(self._served, job.tag - job.weighted_s)
