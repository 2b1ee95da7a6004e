"""Which tensors a bundle stores and how each is made: decided before anything is read (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wan_trt.engine.manifest import SHARED, Recipe
from wan_trt.export.lora.fold import FoldedTensors
from wan_trt.export.modeling.module import ExportModule, WeightRule, same
from wan_trt.export.precision import TORCH_DTYPES, Precision, stored_dtypes

# Larger tensors that are neither folded nor laid out anew pass through memory in rows: UMT5's
# token embedding would be 4 GB of float32.
_WHOLE_NBYTES = 1 << 29


@dataclass(frozen=True, eq=False)
class WeightSource:
    """A part of the checkpoint with the LoRAs of one expert folded in. `part` is its name in
    recipes."""

    part: str
    tensors: FoldedTensors


@dataclass(frozen=True, eq=False)
class TensorPlan:
    """A tensor of graph `graph`: one value of its parameter, for one weight set or for several.

    `sources` are those of the experts that want it; they give the same bytes.
    """

    graph: str
    parameter: str
    weight_sets: tuple[str, ...]
    sources: tuple[WeightSource, ...]
    rule: WeightRule
    shape: tuple[int, ...]
    recipe: Recipe

    @property
    def nbytes(self) -> int:
        """Of the stored file."""
        return math.prod(self.shape) * TORCH_DTYPES[self.recipe.dtype].itemsize

    @property
    def in_rows(self) -> bool:
        """Whether it is better read and written some rows at a time."""
        plain = self.rule.make is same and not self.recipe.folds
        return plain and 4 * math.prod(self.shape) > _WHOLE_NBYTES


def plan_tensors(
    graph: str,
    module: ExportModule,
    sources: Mapping[str, WeightSource],
    precision: Precision,
) -> list[TensorPlan]:
    """All tensors of a graph; {weight set: source}. Weight sets whose tensors are all the same
    become the set "shared", others share what they have in common."""
    dtypes = stored_dtypes(module, precision)
    plans: list[TensorPlan] = []
    for parameter, (rule, shape) in _parameters(module).items():
        groups: dict[Recipe, dict[str, WeightSource]] = {}
        for weight_set, source in sources.items():
            recipe = _recipe(source, rule, dtypes[parameter])
            groups.setdefault(recipe, {})[weight_set] = source
        plans += (
            TensorPlan(graph, parameter, tuple(users), tuple(users.values()), rule, shape, recipe)
            for recipe, users in groups.items()
        )
    if all(len(plan.weight_sets) == len(sources) for plan in plans):
        return [
            TensorPlan(p.graph, p.parameter, (SHARED,), p.sources, p.rule, p.shape, p.recipe)
            for p in plans
        ]
    return plans


def _parameters(module: ExportModule) -> dict[str, tuple[WeightRule, tuple[int, ...]]]:
    rules = module.rules()
    return {name: (rules[name], tuple(t.shape)) for name, t in module.state_dict().items()}


def _recipe(source: WeightSource, rule: WeightRule, dtype: str) -> Recipe:
    folds = (fold for name in rule.sources for fold in source.tensors.folds(name))
    return Recipe(source.part, rule.sources, dtype, tuple(folds))
