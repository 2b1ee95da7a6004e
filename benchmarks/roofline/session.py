"""One run of the benchmark: its device and clock, what it has found, what time is left."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from roofline.results import Measured, Missing, Results, Setting, Stage
from roofline.sizes import DitSizes, VideoSize
from roofline.timing import Clock, Deadline, Timing
from roofline.work import Ceilings, Work

_SEED = 0


@dataclass(frozen=True)
class Plan:
    """What is to be measured. `patience` multiplies the time that is given to repetitions;
    `bundle` has the TensorRT plans, None: they are built on the spot."""

    dit: DitSizes
    videos: tuple[VideoSize, ...]
    error_video: VideoSize
    copy_nbytes: int
    compiled: bool = True
    quick: bool = False
    patience: float = 1.0
    bundle: Path | None = None


class Session:
    """`on_change` is called after each result."""

    def __init__(
        self,
        plan: Plan,
        device: torch.device,
        limit_s: float,
        results: Results,
        on_change: Callable[[], None],
    ) -> None:
        self.plan, self.device, self.results = plan, device, results
        self.clock = Clock(device, plan.patience)
        self.generator = torch.Generator(device).manual_seed(_SEED)
        self._deadline = Deadline(limit_s)
        self._on_change = on_change

    @property
    def ceilings(self) -> Ceilings:
        assert self.results.best is not None
        return self.results.best

    @contextmanager
    def noted(self, what: str) -> Iterator[None]:
        """What fails inside is noted; the rest goes on."""
        try:
            yield
        except Exception as error:  # kernels of others: anything may come
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.missing(what, f"{type(error).__name__}: {first[:200]}")

    def missing(self, what: str, why: str) -> None:
        missing = Missing(what, why)
        if missing not in self.results.missing:
            self.results.missing.append(missing)
            self._on_change()

    def require(self, seconds: float) -> None:
        """Raises TimeoutError where that much is not left."""
        left_s = self._deadline.left_s
        if seconds > left_s:
            raise TimeoutError(f"{left_s:.0f} s are left, some {seconds:.0f} s are needed")

    def add(
        self,
        stage: Stage,
        video: VideoSize,
        setting: Setting,
        taken: Timing,
        done: Work,
        error: float | None,
        peak_nbytes: int | None = None,
    ) -> None:
        """`peak_nbytes` None: as torch counts it."""
        if peak_nbytes is None and self._on_gpu:
            peak_nbytes = torch.cuda.max_memory_allocated()
        self.results.measured.append(
            Measured(
                stage=stage,
                size=str(video),
                tokens=video.tokens,
                linears=setting.linears,
                attention=setting.attention,
                mode=setting.mode,
                **asdict(taken),
                bf16_operations=done.bf16,
                eight_bit_operations=done.eight_bit,
                fraction_of_ceiling=self.ceilings.least_s(done) / taken.median_s,
                peak_nbytes=peak_nbytes,
                error=error,
            )
        )
        self._on_change()

    @property
    def free_nbytes(self) -> int:
        return torch.cuda.mem_get_info()[0] if self._on_gpu else 1 << 33

    def reset_peak(self) -> None:
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()

    def clean(self) -> None:
        """Give back what nobody holds any more."""
        gc.collect()
        if self._on_gpu:
            torch.cuda.empty_cache()

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"
