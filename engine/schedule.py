"""Noise levels and timesteps of a run, as the official samplers choose them.

Flow matching: x_sigma = (1 - sigma) * x0 + sigma * noise. A schedule is a falling list of sigmas,
and for each the timestep that the network is told: 1000 * sigma cut down to an integer. The
networks feel a difference of one timestep, so the cut is part of the definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wan_trt.engine.request import ExpertName, SolverName

TRAIN_TIMESTEPS = 1000


@dataclass(frozen=True)
class Schedule:
    """`timesteps` has one entry a step; `sigmas` one more, the last is 0. All sigmas are
    float32 values."""

    timesteps: tuple[int, ...]
    sigmas: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.timesteps)


def make_schedule(solver: SolverName, steps: int, shift: float) -> Schedule:
    """`steps` levels, pushed towards the noisy end by `shift` > 0 (1 leaves them evenly spaced).

    UniPC starts from the highest level of its 1000-step training grid, 0.999; DPM++ from 1.
    Upstream has no Euler sampler: here it runs on the grid of DPM++.

    Raises ValueError where the levels do not fall in float32 (absurd shifts).
    """
    # Upstream's UniPC takes its first level from a float32 table of 1 - alpha.
    top = float(1 - np.float32(1 / TRAIN_TIMESTEPS)) if solver is SolverName.UNIPC else 1.0
    even = np.linspace(top, 0.0, steps + 1)[:steps]
    shifted = shift * even / (1 + (shift - 1) * even)
    sigmas = np.append(shifted, 0.0).astype(np.float32)
    if not np.all(np.diff(sigmas) < 0):
        raise ValueError(f"{steps} noise levels with shift {shift} are not distinct in float32")
    timesteps = (shifted * TRAIN_TIMESTEPS).astype(np.int64)
    return Schedule(tuple(map(int, timesteps)), tuple(map(float, sigmas)))


def expert_for(timestep: int, boundary: float) -> ExpertName:
    """The expert that serves a timestep; `boundary` is a share of 1000 timesteps."""
    # 0.57 * 1000 is 569.99..: rounding keeps the boundary where its decimal text puts it.
    above = timestep >= round(boundary * TRAIN_TIMESTEPS, 6)
    return ExpertName.HIGH if above else ExpertName.LOW
