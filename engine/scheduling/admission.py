"""Why a job is not let in, and when it could be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wan_trt.engine.scheduling.live_job import LiveJob
from wan_trt.engine.scheduling.timetable import Timetable


class Reason(StrEnum):
    DEADLINE = "its deadline cannot be met beside the jobs that were admitted"
    MEMORY = "its state does not fit beside those of the jobs that were admitted"
    TOO_LARGE = "its state never fits"


@dataclass(frozen=True)
class Refusal:
    """`possible_s` is when the job could be done, on the caller's clock and as costs are known: a
    deadline then, or the job submitted anew when there is room. None: never."""

    job_id: str
    reason: Reason
    possible_s: float | None


def room_at_s(
    nbytes: int, free_nbytes: int, jobs: Mapping[str, LiveJob], timetable: Timetable, now: float
) -> float:
    """When `nbytes` are free, if jobs end in the order in which they are due."""
    at_s = now
    for promise in timetable:
        if free_nbytes >= nbytes:
            break
        at_s += promise.work_s
        free_nbytes += jobs[promise.job_id].submission.state_nbytes
    return at_s
