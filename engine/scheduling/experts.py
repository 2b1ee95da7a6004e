"""Which expert is in memory, how long its group goes first, and when the other one is fetched."""

from __future__ import annotations

from dataclasses import dataclass

from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.live_job import Kind, LiveJob

HOLD = 4.0
"""Loads that a preferred job waits at most for the other expert's group."""


@dataclass(frozen=True)
class OneExpert:
    """One expert at a time is resident; bringing the other takes `load_s` seconds, at worst."""

    load_s: float


class Experts:
    """What is resident and who waits. With both experts resident (`one` is None) nothing is ever
    loaded."""

    def __init__(self, one: OneExpert | None, groups: bool) -> None:
        """`groups` is whether units of the resident expert may go first."""
        self.load_s = one.load_s if one else 0.0
        self.hold_s = HOLD * self.load_s
        self.resident: ExpertName | None = None
        self._one = one is not None
        self._groups = groups
        self._waiting_since_s: float | None = None
        self._queued: dict[ExpertName, dict[LiveJob, float]] = {name: {} for name in ExpertName}
        self._work_s = dict.fromkeys(ExpertName, 0.0)

    def add(self, job: LiveJob) -> None:
        """The job's next unit may be handed out."""
        if self._one and (expert := job.run.expert):
            self._queued[expert][job] = job.run_s
            self._work_s[expert] += job.run_s

    def remove(self, job: LiveJob) -> None:
        if self._one and (expert := job.run.expert):
            self._work_s[expert] -= self._queued[expert].pop(job)
            if not self._queued[expert]:
                self._work_s[expert] = 0.0  # no rounding is left behind

    def loads(self, kind: Kind) -> bool:
        """Whether a unit that needs this begins with a load."""
        return self._one and isinstance(kind, ExpertName) and kind is not self.resident

    def may_hold(self, now: float) -> bool:
        """Whether a preferred job can wait for the resident expert's group a little more."""
        if not self._groups or self.resident is None:
            return False
        return self._waiting_since_s is None or now - self._waiting_since_s < self.hold_s

    def hold(self, now: float) -> None:
        """A preferred job was passed over."""
        if self._waiting_since_s is None:
            self._waiting_since_s = now

    def use(self, kind: Kind) -> None:
        """A unit begins."""
        if isinstance(kind, ExpertName) and self.loads(kind):
            self.resident = kind
            self._waiting_since_s = None

    def prefetch(self, job: LiveJob, now: float) -> ExpertName | None:
        """What to fetch beside the job's unit, which is handed out and no longer queued: the other
        expert, when it is wanted within the unit and a load."""
        if not self._one or self.resident is None:
            return None
        resident = self.resident
        other = ExpertName.LOW if resident is ExpertName.HIGH else ExpertName.HIGH
        if not self._queued[other] and job.following_expert is not other:
            return None
        own_s = job.run_s if job.run.expert is resident else 0.0
        until_s = own_s + (self._work_s[resident] if self._groups else 0.0)
        if self._waiting_since_s is not None:
            until_s = min(until_s, self._waiting_since_s + self.hold_s - now)
        return other if until_s <= self.load_s + job.unit_s else None
