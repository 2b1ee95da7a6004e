"""Why a job is not let in, and when it could be done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wan_trt.engine.scheduling.live_job import LiveJob
from wan_trt.engine.scheduling.live_jobs import LiveJobs
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


def no_room(
    job: LiveJob, capacity_nbytes: int, jobs: LiveJobs, timetable: Timetable, now: float
) -> Refusal | None:
    """A refusal where the job's state does not fit beside those of live jobs. There is room when
    enough of them have ended, in the order in which they are due."""
    nbytes = job.submission.state_nbytes
    free_nbytes = capacity_nbytes - jobs.state_nbytes
    if nbytes <= free_nbytes:
        return None
    if nbytes > capacity_nbytes:
        return Refusal(job.job_id, Reason.TOO_LARGE, None)
    room_s = jobs.free_s(now)
    for promise in timetable:
        if nbytes <= free_nbytes:
            break
        room_s += promise.work_s
        free_nbytes += jobs[promise.job_id].submission.state_nbytes
    return Refusal(job.job_id, Reason.MEMORY, room_s + job.work_s)
