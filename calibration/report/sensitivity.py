"""How much each module suffers when it alone is FP8, as a JSON file: module -> relative error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from wan_trt.engine.errors import InputError


def read_sensitivity(path: Path) -> Mapping[str, float]:
    """Most sensitive first. Raises InputError for a file of another kind."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _error(f"{path} cannot be read ({error})") from None
    if not isinstance(document, dict):
        raise _error(f"{path} holds a {type(document).__name__}")
    for module, value in document.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
            raise _error(f"{path}: {module} is {value!r}")
    return dict(sorted(document.items(), key=lambda pair: -pair[1]))


def _error(given: str) -> InputError:
    return InputError(
        given,
        expected="a JSON object of module names with their relative errors, 0 or more",
        action="measure the sensitivity again, or leave it out",
        field="sensitivity",
    )
