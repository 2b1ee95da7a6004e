"""What of finished work is kept for how long: decided over plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wan_trt.engine.registry import REMEMBERED_JOBS

DAY_S = 86_400.0


@dataclass(frozen=True)
class Retention:
    """Only what nobody waits for is ever removed: results that were fetched to their end, jobs
    that have none, and uploads that no job uses (jobs have links of their own).

    A job is forgotten `age_s` after its end, or earlier, the oldest first, where more than
    `max_jobs` such jobs are known or their results have more than `max_nbytes` in all. An upload
    is removed `age_s` after it was last sent. With `unfetched_age_s` also results that nobody has
    fetched so long after they were made; None keeps them for ever.
    """

    age_s: float = 7 * DAY_S
    max_jobs: int = REMEMBERED_JOBS
    max_nbytes: int | None = None
    unfetched_age_s: float | None = None


@dataclass(frozen=True)
class FinishedJob:
    """`finished` in seconds since 1970; `wanted`: it has a result that nobody has fetched."""

    job_id: str
    finished: float
    nbytes: int
    wanted: bool


def jobs_to_forget(
    jobs: Iterable[FinishedJob], retention: Retention, now: float
) -> list[FinishedJob]:
    """Which of all finished jobs are to be forgotten."""
    ordered = sorted(jobs, key=lambda job: job.finished)
    forgotten = []
    free = []
    for job in ordered:
        limit = retention.unfetched_age_s if job.wanted else retention.age_s
        if limit is not None and now - job.finished > limit:
            forgotten.append(job)
        elif not job.wanted:
            free.append(job)
    nbytes = sum(job.nbytes for job in free)
    for left, job in zip(range(len(free), 0, -1), free, strict=True):
        full = retention.max_nbytes is not None and nbytes > retention.max_nbytes
        if left <= retention.max_jobs and not full:
            break
        forgotten.append(job)
        nbytes -= job.nbytes
    return forgotten
