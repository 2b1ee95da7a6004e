"""What the scheduler says: a unit of a job, to be done now."""

from __future__ import annotations

from dataclasses import dataclass

from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.unit import Stage


@dataclass(frozen=True)
class Decision:
    """Do the job's next unit, its `index`-th, which is expected to take `seconds`. `load` is the
    expert to load before it, `prefetch` the one to fetch beside it."""

    job_id: str
    index: int
    stage: Stage
    expert: ExpertName | None
    seconds: float
    load: ExpertName | None = None
    prefetch: ExpertName | None = None
