"""The keys that one adapter file has for one module, and the deltas they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from wan_trt.engine.errors import LoraError
from wan_trt.export.lora.adapter_config import AdapterConfig
from wan_trt.export.lora.adapter_file import AdapterFile, Factor
from wan_trt.export.lora.algorithms import ALGORITHMS, Algorithm
from wan_trt.export.lora.changes import Change, Given
from wan_trt.export.lora.delta import Delta, half_shape, magnitude_axis
from wan_trt.export.lora.faults import Fault
from wan_trt.export.lora.module_names import Place
from wan_trt.export.lora.spec import LoraSpec
from wan_trt.export.lora.tails import Role, Tail
from wan_trt.export.tensors import TensorSource

# Full changes: the role and the tensor of the module that it changes.
_FULL = {Role.WEIGHT: "weight", Role.BIAS: "bias", Role.MODULATION: "modulation"}
_FACTORS: frozenset[Role] = frozenset().union(*(row.roles for row in ALGORITHMS))


@dataclass(frozen=True)
class Problem:
    """Why keys are not applied."""

    kind: Fault
    text: str


@dataclass
class ModuleKeys:
    """What a file has for a module, or for one half of its rows."""

    file: AdapterFile
    place: Place
    name: str  # as in the file, without prefix: what the patterns of a configuration match
    component: str  # transformer or transformer_2 where the file says so
    keys: list[tuple[str, Tail]] = field(default_factory=list)

    def all_keys(self) -> tuple[str, ...]:
        return tuple(key for key, _ in self.keys)

    @property
    def roles(self) -> frozenset[Role]:
        return frozenset(tail.role for _, tail in self.keys)

    @property
    def algorithm(self) -> Algorithm | None:
        """The kind of its factors, if it has any."""
        return next((row for row in ALGORITHMS if row.roles & self.roles), None)


@dataclass(frozen=True)
class Scale:
    """What multiplies a change, and where its alpha comes from."""

    alpha: float | None
    value: float
    source: str


def read_module(
    keys: ModuleKeys, spec: LoraSpec, model: TensorSource
) -> tuple[tuple[Delta, ...], Problem | None, Scale | None]:
    """The module's deltas, or why it is no part of this model. Raises LoraError for damage."""
    found = _factors(keys)
    change = _change(keys, found)
    scale = None if change is None else _scale(keys, change, found.get(Role.ALPHA), spec)
    module, half, magnitude = keys.place.module, keys.place.half, found.get(Role.MAGNITUDE)
    deltas = [
        Delta(f"{module}.{leaf}", Given(found[role]), spec.strength, half=half)
        for role, leaf in _FULL.items()
        if role in found
    ]
    if change is not None and scale is not None:
        deltas.append(
            Delta(
                target=f"{module}.weight",
                change_of=change,
                strength=spec.strength,
                scale=scale.value,
                alpha=scale.alpha,
                half=half,
                magnitude=magnitude,
            )
        )
        if Role.UP_BIAS in found:
            bias = Given(found[Role.UP_BIAS])
            deltas.append(
                Delta(f"{module}.bias", bias, spec.strength, scale.value, scale.alpha, half)
            )
    known = frozenset(model.names())
    for delta in deltas:
        if problem := _misfit(delta, model, known):
            return (), problem, scale
    return tuple(deltas), None, scale


def _factors(keys: ModuleKeys) -> dict[Role, Factor]:
    """The tensors by role. Raises LoraError if one weight is addressed twice or by integers."""
    found: dict[Role, Factor] = {}
    stems: set[str] = set()
    for key, tail in keys.keys:
        if tail.role in _FACTORS:
            stems.add(tail.stem)
        if tail.role in found or len(stems) > 1:
            raise duplicate(keys.file, keys.place.module, keys.all_keys())
        found[tail.role] = Factor(keys.file, key)
        if tail.role is not Role.ALPHA and not keys.file.floating[key]:
            raise LoraError(
                f"{keys.file.path}: {key} is not floating point",
                kind=Fault.UNSUPPORTED_DTYPE,
                keys=(key,),
                expected="factors in a floating-point type",
                action="use the LoRA in its original precision",
            )
    if sum(bool(row.roles & found.keys()) for row in ALGORITHMS) > 1:
        raise duplicate(keys.file, keys.place.module, keys.all_keys())
    return found


def _change(keys: ModuleKeys, found: dict[Role, Factor]) -> Change | None:
    """The product of the factors. Raises LoraError if there are too few or they do not fit."""
    algorithm = keys.algorithm
    if algorithm is None:
        if loose := found.keys() - _FULL.keys():
            raise _incomplete(keys, "the factors", [found[role].key for role in loose])
        return None
    present = algorithm.roles & found.keys()
    here = sorted(found[role].key for role in present)
    if algorithm.twice(present):
        raise duplicate(keys.file, keys.place.module, here)
    if missing := algorithm.missing(present):
        raise _incomplete(keys, " and ".join(sorted(missing)), here)
    change = algorithm.build({role: found[role] for role in present})
    if defect := change.defect():
        raise LoraError(
            f"{keys.file.path}: {', '.join(here)}: {defect}",
            kind=Fault.RANK_MISMATCH,
            keys=here,
            expected="factors whose inner sizes agree",
            action="fetch the LoRA again",
        )
    return change


def _scale(keys: ModuleKeys, change: Change, tensor: Factor | None, spec: LoraSpec) -> Scale:
    """alpha / rank; alpha from the tensor, else what the trainer wrote, else the caller's."""
    alpha, source, stabilised = spec.alpha, "spec", False
    if tensor is not None:
        if math.prod(tensor.shape) != 1:
            raise LoraError(
                f"{keys.file.path}: {tensor.key} has shape {list(tensor.shape)}",
                kind=Fault.BAD_ALPHA,
                keys=(tensor.key,),
                expected="one number",
                action="fetch the LoRA again",
            )
        alpha, source = float(tensor.read().reshape(())), "tensor"
    else:
        for config, name in _configurations(keys):
            stated = config.alpha_of(keys.name)
            stabilised = config.rank_stabilised
            if stated is not None:
                alpha, source = stated, name
                break
    if change.rank is None:
        return Scale(None, 1.0, "")
    if alpha is None:
        return Scale(None, 1.0, "rank")
    if alpha == 0:
        return Scale(0.0, 1.0, source)
    return Scale(alpha, alpha / (math.sqrt(change.rank) if stabilised else change.rank), source)


def _configurations(keys: ModuleKeys) -> list[tuple[AdapterConfig, str]]:
    components = keys.file.components
    written = components.get(keys.component) or components.get("")
    found = ((keys.file.config, "adapter_config"), (written, "metadata"))
    return [(config, name) for config, name in found if config is not None]


def _misfit(delta: Delta, model: TensorSource, known: frozenset[str]) -> Problem | None:
    """Why the delta is no change to the model's tensor."""
    if delta.target not in known:
        return Problem(Fault.UNKNOWN_MODULE, f"the model has no tensor {delta.target}")
    base = half_shape(model.shape(delta.target), delta.half)
    if not delta.change_of.fits(base):
        made = list(delta.change_of.made())
        return Problem(Fault.SHAPE_MISMATCH, f"makes {made} for {delta.target} {list(base)}")
    magnitude = delta.magnitude
    if magnitude is not None and magnitude_axis(magnitude.shape, base) is None:
        made = list(magnitude.shape)
        return Problem(
            Fault.SHAPE_MISMATCH, f"has magnitudes {made} for {delta.target} {list(base)}"
        )
    return None


def duplicate(file: AdapterFile, module: str, keys: Sequence[str]) -> LoraError:
    """One weight is addressed twice; which of them is meant cannot be told."""
    return LoraError(
        f"{file.path}: {module} is addressed twice, by {', '.join(keys)}",
        kind=Fault.DUPLICATE_MODULE,
        keys=keys,
        expected="one set of factors for each module",
        action="remove one of the two from the file",
    )


def _incomplete(keys: ModuleKeys, missing: str, here: Sequence[str]) -> LoraError:
    return LoraError(
        f"{keys.file.path}: {', '.join(sorted(here))} stands without {missing}",
        kind=Fault.INCOMPLETE_MODULE,
        keys=sorted(here),
        expected="all factors of a module",
        action="fetch the LoRA again",
    )
