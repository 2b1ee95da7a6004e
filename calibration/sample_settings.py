"""request.toml of a sample: the settings of a request that are no files.

    mode = "replace"         steps = 20            solver = "dpm++"      shift = 5.0
    guidance = 2.5           # or [high, low]      seed = 3
    segment_frames = 77      overlap = 5           # Animate
    frames = 81              area = 921600         # image-to-video

All are optional; what is left out is the model's default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode, SolverName


def read_settings(path: Path) -> Mapping[str, Any]:
    """The keys with their values as a request takes them. Raises InputError naming what is
    unknown or of another type; bounds are the engine's to check."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _error(f"{path} cannot be read ({error})", "a TOML file") from None
    if unknown := sorted(set(data) - set(_KEYS)):
        raise _error(f"{path} has unknown keys {unknown}", f"some of {', '.join(_KEYS)}")
    settings: dict[str, Any] = {}
    for key, value in data.items():
        read, expected = _KEYS[key]
        try:
            settings[key] = read(value)
        except (TypeError, ValueError):
            raise _error(f"{path} has {key} = {value!r}", expected) from None
    return settings


def choices(
    settings: Mapping[str, Any], prompt: str | None, negative_prompt: str | None
) -> RequestChoices:
    """The settings of `read_settings` and the prompts as one."""
    sampling = {key: settings[key] for key in _SAMPLING if key in settings}
    others = {key: value for key, value in settings.items() if key not in _SAMPLING}
    return RequestChoices(
        prompt=prompt,
        negative_prompt=negative_prompt,
        sampling=SamplingChoices(**sampling),
        **others,
    )


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError
    return float(value)


def _guidance(value: Any) -> tuple[float, float]:
    if not isinstance(value, list):
        return _number(value), _number(value)
    high, low = value
    return _number(high), _number(low)


_WHOLE = (_whole, "a whole number")
_KEYS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "mode": (Mode, " or ".join(Mode)),
    "steps": _WHOLE,
    "solver": (SolverName, " or ".join(SolverName)),
    "shift": (_number, "a number"),
    "guidance": (_guidance, "a number, or [high, low]"),
    "seed": _WHOLE,
    "segment_frames": _WHOLE,
    "overlap": _WHOLE,
    "frames": _WHOLE,
    "area": _WHOLE,
}
_SAMPLING = ("steps", "solver", "shift", "guidance")


def _error(given: str, expected: str) -> InputError:
    return InputError(given, expected=expected, action="correct it", field="inputs")
