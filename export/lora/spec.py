"""How a LoRA is named on the command line: PATH[,strength=S][,alpha=A]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.errors import LoraError

_FORM = "PATH[,strength=NUMBER][,alpha=NUMBER]"


@dataclass(frozen=True)
class LoraSpec:
    """`alpha` replaces the file's own where given; it is for formats that carry none."""

    path: Path
    strength: float = 1.0
    alpha: float | None = None

    @staticmethod
    def parse(text: str) -> LoraSpec:
        """Raises LoraError for unknown options and numbers that are none."""
        path, *options = text.split(",")
        values: dict[str, float] = {}
        for option in options:
            key, _, value = option.partition("=")
            if key not in ("strength", "alpha"):
                raise LoraError(f"LoRA {text!r} has option {key!r}", expected=_FORM)
            try:
                values[key] = float(value)
            except ValueError:
                values[key] = math.nan
            if not math.isfinite(values[key]):
                raise LoraError(f"LoRA {text!r} has {key} = {value!r}", expected=_FORM)
        return LoraSpec(Path(path), values.get("strength", 1.0), values.get("alpha"))


@dataclass(frozen=True)
class LoraStacks:
    """What is folded into each expert, in order: `both` first."""

    both: tuple[LoraSpec, ...] = ()
    high: tuple[LoraSpec, ...] = ()
    low: tuple[LoraSpec, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.both or self.high or self.low)
