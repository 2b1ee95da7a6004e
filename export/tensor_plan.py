"""Which tensors a bundle stores and how each is made: decided before anything is read (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.manifest import SHARED, Recipe, Scale
from wan_trt.export.lora.fold import FoldedTensors
from wan_trt.export.modeling.module import ExportModule, WeightRule, same
from wan_trt.export.precision import FLOAT8, FLOAT32, TORCH_DTYPES, Precision, stored_dtypes
from wan_trt.export.quantize import e4m3
from wan_trt.export.quantize.e4m3_nodes import input_scale, weight_scale
from wan_trt.export.quantize.fitted import Fitted
from wan_trt.export.quantize.rounding import NOTHING, Rounding

# Larger tensors that are neither folded nor laid out anew pass through memory in rows: UMT5's
# token embedding would be 4 GB of float32.
_WHOLE_NBYTES = 1 << 29
_WEIGHT = ".weight"


@dataclass(frozen=True, eq=False)
class WeightSource:
    """A part of the checkpoint with the LoRAs of one expert folded in. `part` is its name in
    recipes; `ranges` are those of what is rounded in the expert, `fitted` what else calibration
    found for its linears."""

    part: str
    tensors: FoldedTensors
    ranges: Mapping[str, float] = field(default_factory=dict)
    fitted: Mapping[str, Fitted] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TensorPlan:
    """A tensor of graph `graph`: one value of its parameter, for one weight set or for several.

    `sources` are those of the experts that want it; they give the same bytes. `matrix` is the
    parameter that it is made with: its own name, or for the scales of an FP8 matrix that one's.
    """

    graph: str
    parameter: str
    weight_sets: tuple[str, ...]
    sources: tuple[WeightSource, ...]
    rule: WeightRule
    shape: tuple[int, ...]
    recipe: Recipe
    matrix: str

    @property
    def nbytes(self) -> int:
        """Of the stored file."""
        return math.prod(self.shape) * TORCH_DTYPES[self.recipe.dtype].itemsize

    @property
    def in_rows(self) -> bool:
        """Whether it is better read and written some rows at a time."""
        plain = self.rule.make is same and not self.recipe.folds and not self.of_e4m3
        return plain and 4 * math.prod(self.shape) > _WHOLE_NBYTES

    @property
    def of_e4m3(self) -> bool:
        """Whether it is an FP8 matrix or the scales of its columns."""
        return self.recipe.dtype == FLOAT8 or self.recipe.scale == Scale()

    @property
    def column_scales(self) -> NDArray[np.float32] | None:
        """Of an FP8 matrix, float32 [out]; None: each column's greatest magnitude / 448."""
        fitted = self.sources[0].fitted.get(self.matrix.removesuffix(_WEIGHT))
        return None if fitted is None else fitted.column_scales


def plan_tensors(
    graph: str,
    module: ExportModule,
    sources: Mapping[str, WeightSource],
    precision: Precision,
    rounded: Rounding = NOTHING,
) -> list[TensorPlan]:
    """All tensors of a graph of which this is `rounded`; {weight set: source}. Weight sets whose
    tensors are all the same become the set "shared", others share what they have in common."""
    dtypes = stored_dtypes(module, precision, rounded)
    plans: list[TensorPlan] = []
    for parameter, (rule, shape) in _parameters(module).items():
        groups: dict[Recipe, dict[str, WeightSource]] = {}
        rules: dict[Recipe, WeightRule] = {}
        for weight_set, source in sources.items():
            own, digest = _fitted(source, parameter, rule, shape)
            recipe = _recipe(source, rule, dtypes[parameter], digest)
            groups.setdefault(recipe, {})[weight_set] = source
            rules[recipe] = own
        for recipe, users in groups.items():
            names, of = tuple(users), tuple(users.values())
            plan = TensorPlan(graph, parameter, names, of, rules[recipe], shape, recipe, parameter)
            plans += [plan, _channel_scales(plan)] if plan.of_e4m3 else [plan]
    for name in sorted(rounded.inputs):
        plans += _input_scales(graph, name, sources)
    if all(len(plan.weight_sets) == len(sources) for plan in plans):
        return [replace(plan, weight_sets=(SHARED,)) for plan in plans]
    return plans


def _channel_scales(plan: TensorPlan) -> TensorPlan:
    """What stands beside an FP8 matrix."""
    return replace(
        plan,
        parameter=weight_scale(plan.parameter.removesuffix(_WEIGHT)),
        shape=plan.shape[1:],
        recipe=replace(plan.recipe, dtype=FLOAT32, scale=Scale()),
    )


def _input_scales(
    graph: str, rounded: str, sources: Mapping[str, WeightSource]
) -> Iterator[TensorPlan]:
    """Of the experts, or of those with the same range."""
    name = input_scale(rounded)
    groups: dict[tuple[str, float], dict[str, WeightSource]] = {}
    for weight_set, source in sources.items():
        groups.setdefault((source.part, source.ranges[rounded]), {})[weight_set] = source
    for (part, greatest), users in groups.items():
        recipe = Recipe(part, (), FLOAT32, scale=Scale(greatest))
        rule = WeightRule((), partial(e4m3.input_scale, greatest))
        names, of = tuple(users), tuple(users.values())
        yield TensorPlan(graph, name, names, of, rule, (), recipe, name)


def _parameters(module: ExportModule) -> dict[str, tuple[WeightRule, tuple[int, ...]]]:
    rules = module.rules()
    return {name: (rules[name], tuple(t.shape)) for name, t in module.state_dict().items()}


def _recipe(source: WeightSource, rule: WeightRule, dtype: str, fitted: str | None) -> Recipe:
    folds = (fold for name in rule.sources for fold in source.tensors.folds(name))
    return Recipe(source.part, rule.sources, dtype, tuple(folds), fitted=fitted)


def _fitted(
    source: WeightSource, parameter: str, rule: WeightRule, shape: tuple[int, ...]
) -> tuple[WeightRule, str | None]:
    """The parameter's rule and the digest of what calibration has for it: column scales for the
    matrix of an FP8 linear, for its bias a shift, which is added. Raises InputError where that is
    not for these columns."""
    linear, dot, kind = parameter.rpartition(".")
    fitted = source.fitted.get(linear)
    if fitted is None:
        return rule, None
    if len(fitted.column_scales) != shape[-1]:
        raise InputError(
            f"the scales have {len(fitted.column_scales)} columns of {parameter}",
            expected=f"{shape[-1]}",
            action="calibrate again with this checkpoint",
            field="scales",
        )
    if dot + kind == _WEIGHT:
        return rule, fitted.columns_digest
    if fitted.bias_shift is None:
        return rule, None
    shift = torch.from_numpy(fitted.bias_shift)
    return (
        WeightRule(rule.sources, lambda *tensors: rule.make(*tensors) + shift),
        fitted.shift_digest,
    )
