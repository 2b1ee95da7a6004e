"""Why a policy is as it is: what each linear costs the velocity when it alone is FP8.

The table [evidence] of a policy that `wan-trt calibrate --search` wrote, and sensitivity.json of a
bundle that was exported with it. Errors are relative squared ones of the velocity:
sum |change|^2 / sum |velocity|^2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wan_trt.engine.errors import BundleError
from wan_trt.engine.request import ExpertName
from wan_trt.engine.strict_json import parse
from wan_trt.export.quantize.scales import ScalesOrigin

SENSITIVITY = "sensitivity.json"


@dataclass(frozen=True)
class ExpertError:
    """Of one expert: of all its calls together, and of each by itself."""

    total: float
    calls: tuple[float, ...]


@dataclass(frozen=True)
class LinearEvidence:
    """Of one linear: bytes of its weight at FP8, and the error that it makes alone, by expert."""

    nbytes: int
    alone: Mapping[str, ExpertError]


@dataclass(frozen=True)
class Trial:
    """The first `count` of the order, together, have this error, of the worse expert."""

    count: int
    error: float


@dataclass(frozen=True)
class Evidence:
    """What a search measured: on which model and samples and by which method (`origin`), at which
    timestep each call of an expert was, and of each linear in the order of the trials, the
    cheapest first. Raises BundleError for numbers that cannot have been measured."""

    origin: ScalesOrigin
    budget: float
    timesteps: Mapping[str, tuple[int, ...]]
    trials: tuple[Trial, ...]
    linears: Mapping[str, LinearEvidence]

    def __post_init__(self) -> None:
        counts = {expert: len(timesteps) for expert, timesteps in self.timesteps.items()}
        if set(counts) != set(ExpertName):
            raise _error(f"timesteps of {sorted(counts)}", f"of {sorted(ExpertName)}")
        for name, linear in self.linears.items():
            found = {expert: len(error.calls) for expert, error in linear.alone.items()}
            if found != counts:
                raise _error(f"calls of {name}: {found}", f"{counts}, as it has timesteps")
        for where, value in self._errors():
            if not 0 <= value < math.inf:
                raise _error(f"an error of {where} that is {value}", "a number, 0 or more")

    def _errors(self) -> Iterator[tuple[str, float]]:
        for trial in self.trials:
            yield f"{trial.count} linears", trial.error
        for name, linear in self.linears.items():
            for error in linear.alone.values():
                yield from ((name, value) for value in (error.total, *error.calls))

    @staticmethod
    def parse(data: Any, where: str) -> Evidence:
        """A table of TOML or JSON. Raises BundleError."""
        evidence: Evidence = parse(Evidence, data, where)
        return evidence

    @staticmethod
    def read(path: Path) -> Evidence:
        """A file that `to_json` made. Raises BundleError."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError(
                f"{path} cannot be read ({error})", action="copy or export the bundle again"
            ) from None
        return Evidence.parse(data, str(path))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


def worst(errors: Iterable[ExpertError]) -> float:
    """The total of the expert that suffers more."""
    return max(error.total for error in errors)


def _error(given: str, expected: str) -> BundleError:
    return BundleError(f"evidence has {given}", expected=expected, action="search again")
