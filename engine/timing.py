"""How long the stages of a job took, what they occupied, and how long the rest will take."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wan_trt.engine.scheduling.unit import Stage

_STATM = Path("/proc/self/statm")


def resident_nbytes() -> int:
    """Memory that the process occupies now; 0 where the system does not tell."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class StageUsage:
    """Sums over the runs of one stage; `resident_nbytes` is the most seen at the end of a run."""

    runs: int = 0
    seconds: float = 0.0
    resident_nbytes: int = 0


@dataclass
class StageTimes:
    """Measured durations of one job.

    Denoising is counted by forward passes of the network, so that guidance, which runs two, does
    not spoil the forecast.
    """

    usage: dict[Stage, StageUsage] = field(default_factory=dict)
    _passes: dict[Stage, int] = field(default_factory=dict)

    def record(self, stage: Stage, seconds: float, passes: int = 1) -> None:
        before = self.usage.get(stage, StageUsage())
        self.usage[stage] = StageUsage(
            before.runs + 1,
            before.seconds + seconds,
            max(before.resident_nbytes, resident_nbytes()),
        )
        self._passes[stage] = self._passes.get(stage, 0) + passes

    def estimate(self, remaining: Mapping[Stage, int]) -> float | None:
        """Seconds for the `remaining` passes of each stage, see `forecast`."""
        seconds = {
            stage: usage.seconds / self._passes[stage] for stage, usage in self.usage.items()
        }
        return forecast(seconds, remaining)


def forecast(seconds: Mapping[Stage, float], remaining: Mapping[Stage, int]) -> float | None:
    """Seconds for the `remaining` passes of each stage; `seconds` are those of a measured pass.

    Decoding is at first taken to be as long as conditioning: both send a clip through the VAE.
    None before a denoising pass was measured, which is most of the time of a job.
    """
    if Stage.DENOISE not in seconds:
        return None
    known = {Stage.DECODE: seconds.get(Stage.CONDITIONING, 0.0), **seconds}
    return sum(passes * known.get(stage, 0.0) for stage, passes in remaining.items())
