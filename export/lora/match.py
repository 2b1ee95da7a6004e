"""An adapter file against a model: each key is matched to a module, or the reason is told."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from wan_trt.engine.errors import LoraError
from wan_trt.engine.request import ExpertName
from wan_trt.export.lora.adapter_file import AdapterFile
from wan_trt.export.lora.delta import Delta
from wan_trt.export.lora.faults import Fault
from wan_trt.export.lora.grouping import GroupedKeys, group_keys
from wan_trt.export.lora.module import Problem, Scale, read_module
from wan_trt.export.lora.module_names import ModuleNames
from wan_trt.export.lora.spec import LoraSpec
from wan_trt.export.lora.spelling import family
from wan_trt.export.lora.tails import Role
from wan_trt.export.lora.trained_for import TrainedFor, trained_for
from wan_trt.export.tensors import TensorSource

_SHOWN = 5  # modules that an error names
_SKIPPED = (Fault.SHAPE_MISMATCH, Fault.UNKNOWN_MODULE, Fault.UNKNOWN_KEY)
_ALWAYS_WITH_ALPHA = frozenset({"musubi", "videox-fun", "lycoris"})


@dataclass(frozen=True)
class LoraFile:
    """One adapter file, read: its deltas, and every key accounted for.

    `other_expert_keys` belong to the expert that the model is not. `modules` counts what the
    file has for this model, `matched_modules` what is applied.
    """

    path: str
    sha256: str
    family: str
    algorithms: tuple[str, ...]
    strength: float
    trained_for: TrainedFor
    deltas: tuple[Delta, ...]
    matched_keys: tuple[str, ...]
    problems: Mapping[str, Problem]
    other_expert_keys: tuple[str, ...]
    matched_modules: int
    modules: int
    config: str
    warnings: tuple[str, ...]

    @property
    def unmatched_keys(self) -> tuple[str, ...]:
        return tuple(self.problems)


def match(
    file: AdapterFile,
    spec: LoraSpec,
    model: TensorSource,
    *,
    expert: ExpertName | None = None,
    shared: bool = False,
    foldable: Container[str] | None = None,
    allow_unmatched: bool = False,
) -> LoraFile:
    """The file's deltas for `model`, which is `expert`, or the only DiT if that is None.

    Raises LoraError for damage, and for keys that fit nothing unless `allow_unmatched`; then
    only if no key fits. `shared`: the file is given to both experts and may be all for the other.
    `foldable`: the tensors that may change, all if None; keys for others fit nothing.
    """
    grouped = group_keys(file, ModuleNames(model.names()), expert)
    problems = dict(grouped.problems)
    deltas: list[Delta] = []
    matched: set[str] = set()
    scales: list[Scale] = []
    modules = 0
    for group in grouped.groups:
        made, problem, scale = read_module(group, spec, model)
        problem = problem or _fixed(made, foldable)
        if problem is not None:
            problems |= dict.fromkeys(group.all_keys(), problem)
            continue
        modules += 1
        deltas += made
        matched.update(group.all_keys())
        scales += [scale] if scale else []
    base = trained_for(file)
    if (problems and not allow_unmatched) or not (deltas or grouped.other):
        raise _unmatched(file, problems, base, model, strict=not allow_unmatched)
    if not deltas and not shared:
        raise LoraError(
            f"{file.path}: all keys are for the other expert: {grouped.other[0]}, ..",
            kind=Fault.UNKNOWN_MODULE,
            keys=grouped.other,
            expected=f"keys for the {expert} expert",
            action="give it to the other expert, or to both with --lora",
        )
    for delta in deltas:
        for key in delta.keys:
            file.check(key)
    name = family(grouped.spellings)
    return LoraFile(
        path=spec.path.name,
        sha256=file.sha256,
        family=name,
        algorithms=_algorithms(grouped),
        strength=spec.strength,
        trained_for=base,
        deltas=tuple(deltas),
        matched_keys=tuple(key for key in file.shapes if key in matched),
        problems={key: problems[key] for key in file.shapes if key in problems},
        other_expert_keys=grouped.other,
        matched_modules=modules,
        modules=grouped.modules,
        config=file.config_path.name if file.config_path else "",
        warnings=tuple(
            _warnings(file, name, spec, scales, matched_any=bool(deltas))
            + [text for text in [base.mismatch(*_sizes(model))] if text]
        ),
    )


def _fixed(deltas: Sequence[Delta], foldable: Container[str] | None) -> Problem | None:
    for delta in deltas:
        if foldable is not None and delta.target not in foldable:
            text = f"changes {delta.target}, which no expert's graph reads"
            return Problem(Fault.UNKNOWN_MODULE, text)
    return None


def _algorithms(grouped: GroupedKeys) -> tuple[str, ...]:
    found = {group.algorithm.name for group in grouped.groups if group.algorithm}
    roles = frozenset().union(*(group.roles for group in grouped.groups))
    if roles & {Role.WEIGHT, Role.BIAS, Role.MODULATION}:
        found.add("full")
    if Role.MAGNITUDE in roles:
        found.add("dora")
    return tuple(sorted(found))


def _warnings(
    file: AdapterFile, name: str, spec: LoraSpec, scales: Sequence[Scale], *, matched_any: bool
) -> list[str]:
    found = []
    zero = sum(scale.alpha == 0 for scale in scales)
    if zero:
        found.append(f"alpha is 0 in {zero} modules: taken as alpha = rank, scale 1")
    if spec.alpha is not None and any(s.source not in ("spec", "") for s in scales):
        found.append(f"alpha={spec.alpha:g} of the SPEC is not used where the file has its own")
    if name in _ALWAYS_WITH_ALPHA and any(scale.source == "rank" for scale in scales):
        found.append("modules without alpha, which this family always stores: scale 1")
    if file.config_path is not None:
        found_sources = {scale.source for scale in scales}
        if "adapter_config" not in found_sources:
            found.append(f"{file.config_path.name} decides no scale")
    if spec.strength == 0:
        found.append("strength is 0: nothing changes")
    if not matched_any:
        found.append("all its keys are for the other expert")
    return found


def _sizes(model: TensorSource) -> tuple[int | None, int | None]:
    """Width and input channels of the model, where its tensors show them."""
    names = frozenset(model.names())
    query, patches = "blocks.0.self_attn.q.weight", "patch_embedding.weight"
    width = model.shape(query)[0] if query in names else None
    return width, model.shape(patches)[1] if patches in names else None


def _unmatched(
    file: AdapterFile,
    problems: Mapping[str, Problem],
    base: TrainedFor,
    model: TensorSource,
    *,
    strict: bool,
) -> LoraError:
    """The most telling kind of problem gives the error its name; each key shown gives its own."""
    kinds = {problem.kind for problem in problems.values()}
    kind = next(kind for kind in _SKIPPED if kind in kinds) if strict else Fault.NOTHING_MATCHED
    keys = [key for key, problem in problems.items() if not strict or problem.kind is kind]
    told = base.mismatch(*_sizes(model))
    if not told and base.name and kind is not Fault.UNKNOWN_KEY:
        told = f"it looks trained for {base.name}"
    # A module's keys share their problem: one key stands for all of them.
    shared: dict[int, list[str]] = {}
    for key in keys:
        shared.setdefault(id(problems[key]), []).append(key)
    shown = [
        f"{group[0]}{f' (+{len(group) - 1})' if len(group) > 1 else ''} {problems[group[0]].text}"
        for group in list(shared.values())[:_SHOWN]
    ]
    shown += [f"and {len(shared) - _SHOWN} more modules"] if len(shared) > _SHOWN else []
    count = f"{len(problems)} of {len(file.shapes)} keys do not fit this model"
    return LoraError(
        f"{file.path}: {count}{f': {told}' if told else ''}: {'; '.join(shown)}",
        kind=kind,
        keys=keys,
        expected="a LoRA whose every key fits the model",
        action="use it with its own base"
        + (", or fold what fits with --allow-unmatched" if strict else ""),
    )
