"""What the gate lets pass: a TOML file over the package's own (pure but for reading the file)."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wan_trt.engine.errors import InputError

_DEFAULT = Path(__file__).with_name("thresholds.toml")
_FIELD = "thresholds"


@dataclass(frozen=True)
class VelocityThresholds:
    cosine_min: float
    relative_error_max: float
    confusion_max: float


@dataclass(frozen=True)
class LatentThresholds:
    relative_error_max: float


@dataclass(frozen=True)
class FrameThresholds:
    """`psnr_min` in dB, `drift_max` in 1/255."""

    psnr_min: float
    ssim_min: float
    drift_max: float
    temporal_ratio_min: float
    temporal_ratio_max: float
    lpips_max: float


@dataclass(frozen=True)
class Thresholds:
    """One table of the file each."""

    velocity: VelocityThresholds
    latents: LatentThresholds
    frames: FrameThresholds

    @staticmethod
    def read(path: Path | None = None) -> Thresholds:
        """The package's thresholds, changed where the file at `path` says otherwise.

        Raises InputError naming what is unreadable, unknown or no finite number.
        """
        values = _tables(_DEFAULT)
        if path is not None:
            for table, changes in _tables(path).items():
                _require_known(f"{path}: table", [table], values)
                _require_known(f"{path}: key of [{table}]", changes, values[table])
                values[table] = {**values[table], **changes}
        return Thresholds(
            VelocityThresholds(**values["velocity"]),
            LatentThresholds(**values["latents"]),
            FrameThresholds(**values["frames"]),
        )

    @property
    def digest(self) -> str:
        """The same for the same thresholds, however they are written."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


TABLES = tuple(field.name for field in fields(Thresholds))


def _tables(path: Path) -> dict[str, Mapping[str, float]]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _error(f"{path} cannot be read ({error})", "a TOML file") from None
    tables: dict[str, Mapping[str, float]] = {}
    for name, table in document.items():
        if not isinstance(table, dict):
            raise _error(f"{path}: {name} = {table!r}", f"tables {_listed(TABLES)}")
        tables[name] = {
            key: _number(value, f"{path}: {name}.{key}") for key, value in table.items()
        }
    return tables


def _number(value: Any, where: str) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if not usable or not math.isfinite(value):
        raise _error(f"{where} = {value!r}", "a finite number")
    return float(value)


def _require_known(what: str, names: Any, known: Mapping[str, Any]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise _error(f"{what} {_listed(unknown)} is unknown", _listed(known))


def _listed(names: Any) -> str:
    return ", ".join(names)


def _error(given: str, expected: str) -> InputError:
    return InputError(given, expected=expected, action="correct the file", field=_FIELD)
