"""Sorts the keys of an adapter file by module of the model, and says why a key has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wan_trt.engine.request import ExpertName
from wan_trt.export.lora.adapter_file import AdapterFile
from wan_trt.export.lora.faults import Fault
from wan_trt.export.lora.module import ModuleKeys, Problem, duplicate
from wan_trt.export.lora.module_names import ModuleNames, Place
from wan_trt.export.lora.spelling import HIGH_COMPONENT, LOW_COMPONENT, Spelling, resolve
from wan_trt.export.lora.tails import Style, split

_COMPONENTS = {ExpertName.HIGH: HIGH_COMPONENT, ExpertName.LOW: LOW_COMPONENT}
_SUGGESTIONS = 5  # comparing names takes time, and nobody reads more


@dataclass(frozen=True)
class GroupedKeys:
    """Every key of the file is in one of `groups`, `problems` and `other`.

    `other` belong to the expert that is not asked for. `modules` counts the file's modules for
    the asked one, known or not; `spellings` are prefix and style of each key.
    """

    groups: tuple[ModuleKeys, ...]
    problems: Mapping[str, Problem]
    other: tuple[str, ...]
    spellings: tuple[tuple[str, Style], ...]
    modules: int


def group_keys(file: AdapterFile, names: ModuleNames, expert: ExpertName | None) -> GroupedKeys:
    """Raises LoraError when the file addresses a module and also a half of it."""
    tails = {key: split(key) for key in file.shapes}
    stems = {tail.stem: resolve(tail.stem, names) for tail in tails.values() if tail}
    # Files of pipelines with one DiT also say `transformer`: alone it means the model at hand.
    for_both = any(found.component == LOW_COMPONENT for found in stems.values())
    groups: dict[Place, ModuleKeys] = {}
    problems: dict[str, Problem] = {}
    unknown: dict[str, Problem] = {}
    other: list[str] = []
    spellings: list[tuple[str, Style]] = []
    for key, tail in tails.items():
        if tail is None:
            problems[key] = Problem(Fault.UNKNOWN_KEY, "ends in nothing that adapters have")
            continue
        found = stems[tail.stem]
        spellings.append((found.prefix, tail.style))
        if expert and for_both and found.component not in ("", _COMPONENTS[expert]):
            other.append(key)
        elif found.place is None or (expert is None and found.component == LOW_COMPONENT):
            if tail.stem not in unknown:
                unknown[tail.stem] = _no_module(found, names, len(unknown) < _SUGGESTIONS)
            problems[key] = unknown[tail.stem]
        else:
            group = ModuleKeys(file, found.place, found.name, found.component)
            groups.setdefault(found.place, group).keys.append((key, tail))
    for place, group in groups.items():
        whole = groups.get(Place(place.module))
        if place.half is not None and whole is not None:
            keys = (*whole.all_keys(), *group.all_keys())
            raise duplicate(file, place.module, keys)
    return GroupedKeys(
        groups=tuple(groups.values()),
        problems=problems,
        other=tuple(other),
        spellings=tuple(spellings),
        modules=len(groups) + len(unknown),
    )


def _no_module(found: Spelling, names: ModuleNames, suggest: bool) -> Problem:
    if found.place is not None:
        text = "is for a second expert, and this model has one"
    else:
        near = names.nearest(found.name) if suggest else ""
        text = "names no module of the model" + (f" (nearest: {near})" if near else "")
    return Problem(Fault.UNKNOWN_MODULE, text)
