"""The ends of adapter keys: KEY = MODULE + tail, and what the tail says the tensor is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a tensor is to its module, whatever the spelling."""

    DOWN = "down"  # [rank, in, ...]
    UP = "up"  # [out, rank, ...]
    MID = "mid"  # [rank, rank, *kernel]
    ALPHA = "alpha"  # one number
    UP_BIAS = "up_bias"  # [out], scaled like the pair
    MAGNITUDE = "magnitude"  # DoRA
    WEIGHT = "weight"  # a full change of the weight
    BIAS = "bias"  # a full change of the bias
    MODULATION = "modulation"  # a full change of the modulation
    HADA_W1_A = "hada_w1_a"
    HADA_W1_B = "hada_w1_b"
    HADA_W2_A = "hada_w2_a"
    HADA_W2_B = "hada_w2_b"
    HADA_T1 = "hada_t1"
    HADA_T2 = "hada_t2"
    LOKR_W1 = "lokr_w1"
    LOKR_W1_A = "lokr_w1_a"
    LOKR_W1_B = "lokr_w1_b"
    LOKR_W2 = "lokr_w2"
    LOKR_W2_A = "lokr_w2_a"
    LOKR_W2_B = "lokr_w2_b"
    LOKR_T2 = "lokr_t2"


class Style(StrEnum):
    """Who spells factors so; ANY where everybody does it alike."""

    PEFT = "peft"
    PEFT_LIVE = "peft-live"  # with the adapter's name, as in a model that is being trained
    KOHYA = "kohya"
    OLD_DIFFUSERS = "old-diffusers"
    MOCHI = "mochi"
    ANY = ""


@dataclass(frozen=True)
class Tail:
    """A key taken apart; `stem` is the module as the file spells it, with its prefix."""

    stem: str
    role: Role
    style: Style


_NAME = r"\.[^.]+"  # of a PEFT adapter, usually "default"
_ROWS: tuple[tuple[str, Role, Style], ...] = (
    (r"\.lora_A\.weight", Role.DOWN, Style.PEFT),
    (r"\.lora_B\.weight", Role.UP, Style.PEFT),
    (r"\.lora_B\.bias", Role.UP_BIAS, Style.PEFT),
    (rf"\.lora_A{_NAME}\.weight", Role.DOWN, Style.PEFT_LIVE),
    (rf"\.lora_B{_NAME}\.weight", Role.UP, Style.PEFT_LIVE),
    (rf"\.lora_B{_NAME}\.bias", Role.UP_BIAS, Style.PEFT_LIVE),
    (r"\.lora_A", Role.DOWN, Style.MOCHI),
    (r"\.lora_B", Role.UP, Style.MOCHI),
    (r"\.lora_down\.weight", Role.DOWN, Style.KOHYA),
    (r"\.lora_up\.weight", Role.UP, Style.KOHYA),
    (r"\.lora_mid\.weight", Role.MID, Style.KOHYA),
    (r"[._]lora\.down\.weight", Role.DOWN, Style.OLD_DIFFUSERS),
    (r"[._]lora\.up\.weight", Role.UP, Style.OLD_DIFFUSERS),
    (r"\.lora_linear_layer\.down\.weight", Role.DOWN, Style.OLD_DIFFUSERS),
    (r"\.lora_linear_layer\.up\.weight", Role.UP, Style.OLD_DIFFUSERS),
    (r"\.alpha", Role.ALPHA, Style.ANY),
    (r"\.dora_scale", Role.MAGNITUDE, Style.ANY),
    (r"\.lora_magnitude_vector", Role.MAGNITUDE, Style.PEFT),
    (r"\.lora_magnitude_vector\.weight", Role.MAGNITUDE, Style.PEFT),
    (rf"\.lora_magnitude_vector{_NAME}(?:\.weight)?", Role.MAGNITUDE, Style.PEFT_LIVE),
    (r"\.diff", Role.WEIGHT, Style.ANY),
    (r"\.diff_b", Role.BIAS, Style.ANY),
    (r"\.diff_m", Role.MODULATION, Style.ANY),
    *((rf"\.{role.value}", role, Style.ANY) for role in Role if role.startswith(("hada", "lokr"))),
)
_PATTERNS = tuple((re.compile(rf"(.+?){tail}"), role, style) for tail, role, style in _ROWS)


def split(key: str) -> Tail | None:
    """The key without its tail, and the tail's meaning; None for unknown tails."""
    for pattern, role, style in _PATTERNS:
        if found := pattern.fullmatch(key):
            return Tail(found[1], role, style)
    return None
