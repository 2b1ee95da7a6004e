"""What of a bundle stays in a GPU's memory: decided before anything is loaded (pure).

Both experts, one at a time with the other on its way, or not at all. Stages that never run together
share their pages, so the work counts with its largest stage; where the VAE and the denoiser fit
beside each other, they may run at the same time on two streams.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wan_trt.engine.memory.footprint import Footprint

RESERVE_NBYTES = 1 << 30
"""Left alone: the CUDA context, loaded kernels, captured graphs, and what other processes take."""

_BLOCKS_IN_FLIGHT = 2  # one that runs, one that arrives


class Mode(StrEnum):
    BOTH = "both experts"
    ONE = "one expert at a time"
    NONE = "not at all"


@dataclass(frozen=True)
class Need:
    """Bytes that must be free: resident weights, room for blocks of the next expert, the state of
    all jobs, the largest stage's work."""

    weights: int
    prefetch: int
    state: int
    work: int
    reserve: int

    @property
    def total(self) -> int:
        return self.weights + self.prefetch + self.state + self.work + self.reserve


@dataclass(frozen=True)
class Residency:
    """What fits. `need` is that of `mode`; of the least that runs where nothing fits.

    `concurrent` says whether the VAE fits beside the denoiser, `text_encoder` whether that fits
    beside everything, for prompts that are not the bundle's. `pages_nbytes` is what the arena may
    hold, `jobs_that_fit` how many jobs' states at a time.
    """

    mode: Mode
    footprint: Footprint
    free_nbytes: int
    jobs: int
    need: Need
    both: Need
    concurrent: bool
    text_encoder: bool
    pages_nbytes: int
    jobs_that_fit: int

    @property
    def short_nbytes(self) -> int:
        """What is missing; 0 where it fits."""
        return max(0, self.need.total - self.free_nbytes)

    @property
    def experts_nbytes(self) -> int | None:
        """What there is for the weights of experts; None: for all of them."""
        return None if self.need == self.both else max(self.footprint.experts.values())

    @property
    def prefetched_nbytes(self) -> int:
        """How much of the next expert can be there before the switch, all else being there."""
        if self.mode is not Mode.ONE:
            return 0
        spare = self.free_nbytes - self.need.total + self.need.prefetch
        if self.concurrent:
            spare -= _concurrent_work(self.footprint) - self.need.work
        return min(spare, max(self.footprint.experts.values()))


def decide(
    footprint: Footprint, free_nbytes: int, jobs: int = 1, reserve_nbytes: int = RESERVE_NBYTES
) -> Residency:
    """What fits into `free_nbytes` of an otherwise idle GPU, with the state of `jobs` jobs on
    it."""
    if jobs < 1:
        raise ValueError(f"at least one job runs, not {jobs}")
    both = _need(footprint, sum(footprint.experts.values()), 0, jobs, reserve_nbytes)
    largest = max(footprint.experts.values())
    prefetch = -(-largest * _BLOCKS_IN_FLIGHT // footprint.layers)
    one = _need(footprint, largest, prefetch, jobs, reserve_nbytes)
    if both.total <= free_nbytes:
        mode, need = Mode.BOTH, both
    elif len(footprint.experts) > 1 and one.total <= free_nbytes:
        mode, need = Mode.ONE, one
    else:
        mode, need = Mode.NONE, min(both, one, key=lambda need: need.total)
    spare = free_nbytes - need.total
    return Residency(
        mode=mode,
        footprint=footprint,
        free_nbytes=free_nbytes,
        jobs=jobs,
        need=need,
        both=both,
        concurrent=spare >= _concurrent_work(footprint) - need.work,
        text_encoder=spare >= footprint.text_encoder,
        pages_nbytes=max(0, spare + need.state + need.work),
        jobs_that_fit=max(0, (spare + need.state) // footprint.job),
    )


def _need(footprint: Footprint, experts: int, prefetch: int, jobs: int, reserve: int) -> Need:
    stages = (footprint.denoising, *footprint.vae.values())
    return Need(
        weights=experts + footprint.shared,
        prefetch=prefetch,
        state=jobs * footprint.job,
        work=max(stage.total for stage in stages),
        reserve=reserve,
    )


def _concurrent_work(footprint: Footprint) -> int:
    return footprint.denoising.total + max(stage.total for stage in footprint.vae.values())
