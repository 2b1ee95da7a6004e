"""What a trainer wrote about its adapter: rank and alpha from adapter_config.json or metadata."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wan_trt.engine.errors import LoraError
from wan_trt.export.lora.faults import Fault

METADATA_KEY = "lora_adapter_metadata"  # diffusers' save_lora_weights
COMPONENTS = ("transformer", "transformer_2")


@dataclass(frozen=True)
class AdapterConfig:
    """The part of a PEFT configuration that decides the scale. `alpha` None means not stated."""

    alpha: float | None = None
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rank_stabilised: bool = False
    base: str = ""

    def alpha_of(self, module: str) -> float | None:
        """Alpha of a module named as in the file; patterns match its end, as in PEFT."""
        for pattern, alpha in self.alpha_pattern.items():
            if re.fullmatch(rf"(?:.*\.)?(?:{pattern})", module):
                return alpha
        return self.alpha

    @staticmethod
    def parse(content: Any, where: str) -> AdapterConfig:
        """Raises LoraError for values that are no finite numbers and patterns that are none."""
        if not isinstance(content, dict):
            raise _unusable(where, "it is not a JSON object")
        pattern = content.get("alpha_pattern") or {}
        if not isinstance(pattern, dict):
            raise _unusable(where, f"alpha_pattern is {pattern!r}")
        for name in pattern:
            try:
                re.compile(name)
            except re.error as error:
                raise _unusable(where, f"alpha_pattern {name!r} ({error})") from None
        # LoHa and LoKr configurations of PEFT say `alpha`, those of LoRA `lora_alpha`.
        stated = content.get("lora_alpha", content.get("alpha"))
        return AdapterConfig(
            alpha=None if stated is None else _number(stated, where, "lora_alpha"),
            alpha_pattern={
                name: _number(value, where, f"alpha_pattern of {name}")
                for name, value in pattern.items()
            },
            rank_stabilised=bool(content.get("use_rslora", False)),
            base=str(content.get("base_model_name_or_path") or ""),
        )


def parse_json(text: str, where: str) -> AdapterConfig:
    """An adapter_config.json. Raises LoraError (bad_config, bad_alpha)."""
    return AdapterConfig.parse(_load(text, where), where)


def parse_metadata(metadata: Mapping[str, str], where: str) -> Mapping[str, AdapterConfig]:
    """The entry lora_adapter_metadata: component ("" where none is named) -> configuration."""
    if METADATA_KEY not in metadata:
        return {}
    where = f"{METADATA_KEY} of {where}"
    content = _load(metadata[METADATA_KEY], where)
    if not isinstance(content, dict):
        raise _unusable(where, "it is not a JSON object")
    parts: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        component, _, name = key.partition(".")
        if component in COMPONENTS and name:
            parts.setdefault(component, {})[name] = value
        else:
            parts.setdefault("", {})[key] = value
    return {component: AdapterConfig.parse(part, where) for component, part in parts.items()}


def _load(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unusable(where, f"it is not JSON ({error})") from None


def _number(value: Any, where: str, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise LoraError(
            f"{where}: {what} is {value!r}",
            kind=Fault.BAD_ALPHA,
            expected="a finite number",
            action="correct it, or leave it out and give alpha in the SPEC",
        )
    return float(value)


def _unusable(where: str, why: str) -> LoraError:
    return LoraError(
        f"{where} cannot be used: {why}",
        kind=Fault.BAD_CONFIG,
        expected="an adapter_config.json as PEFT writes it",
        action="fetch it again",
    )
