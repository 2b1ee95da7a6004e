"""The front of adapter keys: prefixes, which expert they mean, and the family they give away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from wan_trt.export.lora.module_names import ModuleNames, Place
from wan_trt.export.lora.tails import Style

HIGH_COMPONENT, LOW_COMPONENT = "transformer", "transformer_2"

# In front of dotted names; several may stand one after the other.
_DOTTED = (
    "base_model.model.",
    "pipe.dit.",
    "diffusion_model.",
    f"{LOW_COMPONENT}.",
    f"{HIGH_COMPONENT}.",
    "model.",
    "unet.",
)
# In front of flattened names; the longer ones first.
_FLAT = ("lora_unet__", "lora_unet_", "lycoris_")
_HYBRID = "lora_unet_."  # lora_unet_blocks_0.self_attn.q


@dataclass(frozen=True)
class Spelling:
    """A module as a file spells it. `name` is without prefix; `place` None: no such module."""

    prefix: str
    name: str
    component: str
    place: Place | None


def resolve(stem: str, names: ModuleNames) -> Spelling:
    """Take the prefix off a module's spelling and look the module up."""
    for prefix in _FLAT:
        if stem.startswith(prefix):
            name = stem.removeprefix(prefix)
            if prefix == "lora_unet_" and "." in name:
                prefix = _HYBRID
            return Spelling(prefix, name, "", names.find_flat(name))
    name, prefix, component = stem, "", ""
    while (place := names.find(name)) is None:
        found = next((p for p in _DOTTED if name.startswith(p)), None)
        if found is None:
            break
        prefix, name = found, name.removeprefix(found)
        if found[:-1] in (HIGH_COMPONENT, LOW_COMPONENT):
            component = found[:-1]
    return Spelling(prefix, name, component, place)


@dataclass(frozen=True)
class _Family:
    """Keys with one of these prefixes and styles; empty means any."""

    name: str
    prefixes: tuple[str, ...] = ()
    styles: tuple[Style, ...] = ()


# The first row that fits names the family.
_FAMILIES = (
    _Family("mochi", styles=(Style.MOCHI,)),
    _Family("old-diffusers", styles=(Style.OLD_DIFFUSERS,)),
    _Family("diffsynth", ("pipe.dit.",)),
    _Family("peft-live", styles=(Style.PEFT_LIVE,)),
    _Family("peft", ("base_model.model.",)),
    _Family("diffusers", (f"{HIGH_COMPONENT}.", f"{LOW_COMPONENT}.")),
    _Family("comfyui-kohya", ("diffusion_model.",), (Style.KOHYA,)),
    _Family("comfyui", ("diffusion_model.",)),
    _Family("videox-fun", ("lora_unet__",)),
    _Family("hybrid", (_HYBRID,)),
    _Family("musubi", ("lora_unet_",)),
    _Family("lycoris", ("lycoris_",)),
    _Family("bare"),
)


def family(found: Iterable[tuple[str, Style]]) -> str:
    """The family most of a file's keys belong to, from their prefixes and styles."""
    counts = Counter((style is not Style.ANY, _row(prefix, style)) for prefix, style in found)
    # Keys that all families spell alike (alpha, diff) decide only where there are no others.
    telling = {name: count for (tells, name), count in counts.items() if tells}
    votes = telling or {name: count for (_, name), count in counts.items()}
    return max(votes, key=lambda name: votes[name])


def _row(prefix: str, style: Style) -> str:
    return next(
        row.name
        for row in _FAMILIES
        if (not row.prefixes or prefix in row.prefixes) and (not row.styles or style in row.styles)
    )
