"""How a LoRA is named on the command line: PATH[,strength=S][,alpha=A][,config=FILE]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.errors import LoraError
from wan_trt.export.lora.faults import Fault

FORM = "PATH[,strength=S][,alpha=A][,config=adapter_config.json]"


@dataclass(frozen=True)
class LoraSpec:
    """A file (or a folder saved by PEFT) and how strongly it is applied.

    `alpha` is for files that carry none. `config` is an adapter_config.json that does not lie
    beside the weights. Raises LoraError for numbers that are not finite.
    """

    path: Path
    strength: float = 1.0
    alpha: float | None = None
    config: Path | None = None

    def __post_init__(self) -> None:
        for name, value, kind in (
            ("strength", self.strength, Fault.BAD_STRENGTH),
            ("alpha", self.alpha, Fault.BAD_ALPHA),
        ):
            if value is not None and not math.isfinite(value):
                raise LoraError(
                    f"{name} of LoRA {self.path} is {value}",
                    kind=kind,
                    expected="a finite number",
                )

    @staticmethod
    def parse(text: str) -> LoraSpec:
        """Raises LoraError for unknown options and numbers that are none."""
        path, *options = text.split(",")
        values: dict[str, str] = {}
        for option in options:
            key, sign, value = option.partition("=")
            if key not in ("strength", "alpha", "config") or not sign or key in values:
                raise LoraError(
                    f"LoRA {text!r} has option {option!r}", kind=Fault.BAD_SPEC, expected=FORM
                )
            values[key] = value
        if not path:
            raise LoraError(f"LoRA {text!r} names no file", kind=Fault.BAD_SPEC, expected=FORM)
        return LoraSpec(
            path=Path(path),
            strength=_number(text, "strength", values.get("strength", "1")),
            alpha=_number(text, "alpha", values["alpha"]) if "alpha" in values else None,
            config=Path(values["config"]) if values.get("config") else None,
        )


@dataclass(frozen=True)
class LoraStacks:
    """What is folded into each expert, in order: `both` first."""

    both: tuple[LoraSpec, ...] = ()
    high: tuple[LoraSpec, ...] = ()
    low: tuple[LoraSpec, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.both or self.high or self.low)


def _number(text: str, name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise LoraError(
            f"LoRA {text!r} has {name} = {value!r}",
            kind=Fault.BAD_STRENGTH if name == "strength" else Fault.BAD_ALPHA,
            expected=f"{FORM} with finite numbers",
        )
    return number
