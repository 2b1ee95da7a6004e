"""One run of the benchmark: its device and clock, what it has found, what time is left."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch

from roofline.results import Measured, Missing, Results, Setting, Stage
from roofline.sizes import DitSizes, VideoSize
from roofline.timing import Clock, Deadline, Timing
from roofline.work import Ceilings, Work

_SEED = 0
_SLOW_SHARE = 0.15  # of the ceiling


@dataclass(frozen=True)
class Plan:
    """What is to be measured. `patience` multiplies the time that is given to repetitions."""

    dit: DitSizes
    videos: tuple[VideoSize, ...]
    error_video: VideoSize
    copy_nbytes: int
    compiled: bool = True
    quick: bool = False
    patience: float = 1.0


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
        """What fails inside is noted, with what torch warned of; the rest goes on. What nobody
        holds any more is given back."""
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                yield
            except Exception as error:  # kernels of others: anything may come
                self.missing(what, _why(error, warned))
                warned.clear()
        for each in warned:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        self._clean()

    def save(self) -> None:
        self._on_change()

    def missing(self, what: str, why: str) -> None:
        missing = Missing(what, why)
        if missing not in self.results.missing:
            self.results.missing.append(missing)
            self._on_change()

    def slowly_s(self, done: Work) -> float:
        """What even a slow variant does not exceed, for estimates alone."""
        return self.ceilings.least_s(done) / _SLOW_SHARE

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
        error: float,
    ) -> None:
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
                peak_nbytes=torch.cuda.max_memory_allocated() if self._on_gpu else None,
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

    def _clean(self) -> None:
        gc.collect()
        if self._on_gpu:
            try:
                torch.cuda.empty_cache()
            except RuntimeError as error:  # a kernel has broken the context
                self.missing("what came next", _why(error, []))

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"


def _why(error: Exception, warned: Sequence[warnings.WarningMessage]) -> str:
    """The first line, and why kernels were not taken: torch says that in warnings alone."""
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    told = [str(each.message).split(" (Triggered internally")[0].strip() for each in warned]
    reasons = dict.fromkeys(one for one in told if not one.endswith((":", "runtime disabled.")))
    return f"{type(error).__name__}: {'; '.join([first[:200], *reasons])[:600]}"
