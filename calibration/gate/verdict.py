"""What the gate found: every check, the numbers behind them, and what the manifest keeps of it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from wan_trt.calibration.gate.checks import Check, make_checks
from wan_trt.calibration.gate.measurement import Measurement
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.engine.errors import GateError
from wan_trt.engine.manifest import GateRecord


@dataclass(frozen=True)
class Verdict:
    """`checks` come of `measured` and `thresholds`."""

    measured: Measurement
    thresholds: Thresholds
    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def passed(self) -> bool:
        return not self.failed

    def require(self) -> None:
        """Raise GateError naming what failed, unless nothing did."""
        if not self.failed:
            return
        worst = [f"{x.name} {x.value:.4g} ({x.bounds}; {x.where})" for x in self.failed]
        raise GateError(
            f"the bundle is not as good as {self.measured.against}: {'; '.join(worst)}",
            action="see the gate's report, and put sensitive modules back to high precision",
        )

    def record(self) -> GateRecord:
        """For the manifest."""
        return GateRecord(
            passed=self.passed,
            against=self.measured.against_digest,
            thresholds=self.thresholds.digest,
            job=self.measured.jobs,
            numbers={check.name: _finite(check.value) for check in self.checks},
            failed=tuple(check.name for check in self.failed),
        )

    def to_json(self) -> str:
        """Everything but the pictures; null is a number that is not finite, or no bound."""
        measured = asdict(self.measured)
        del measured["shown"]
        document = {
            "passed": self.passed,
            "failed": [check.name for check in self.failed],
            "checks": [asdict(check) | {"passed": check.passed} for check in self.checks],
            "thresholds": asdict(self.thresholds),
            "thresholds_digest": self.thresholds.digest,
            "measured": measured,
        }
        return json.dumps(_finite(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def judge(measured: Measurement, thresholds: Thresholds) -> Verdict:
    return Verdict(measured, thresholds, make_checks(measured, thresholds))


def _finite(value: Any) -> Any:
    """The same without what JSON has no numbers for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
