"""Manifests of the real models: the graphs and tensors that an export would have, without bytes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import replace

from scale.graph_stage import shapes_only
from wan_trt.engine.manifest import SHARED, Manifest, StoredTensor
from wan_trt.engine.models import ModelName
from wan_trt.export import graphs
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.lora.fold import FoldedTensors
from wan_trt.export.options import ExportOptions
from wan_trt.export.outline import outline
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.rounding import NOTHING, Rounding
from wan_trt.export.synthetic.sizes import ANIMATE_14B
from wan_trt.export.tensor_plan import TensorPlan, WeightSource, plan_tensors


@functools.cache
def full_size_manifest(
    model: ModelName, precision: Precision, two_experts: bool = True
) -> Manifest:
    """As an export of the real checkpoint writes it; FP8 by the policy `wide`. Without
    `two_experts` both run the same weights, as Animate does without LoRAs."""
    checkpoint, contents = _planned(model)
    layers, found = contents.geometry.layers, candidates(contents.expert)
    rounded = Policy.read("wide").apply(found, layers).rounded
    experts = {
        expert.value: WeightSource(
            f"dit.{expert}" if two_experts else "dit",
            FoldedTensors(dit.tensors),
            dict.fromkeys(Rounding.of_all(rounded).inputs, 1.0),
        )
        for expert, dit in checkpoint.experts.items()
    }
    plans: list[TensorPlan] = []
    for graph in contents.shared:
        source = WeightSource(checkpoint.part(graph.source), FoldedTensors(graph.source))
        plans += plan_tensors(graph.name, graph.module, {SHARED: source}, precision)
    for name, module in contents.expert.items():
        chosen = rounded.get(name, NOTHING) if precision is Precision.FP8 else NOTHING
        plans += plan_tensors(name, module, experts, precision, chosen)
    manifest = outline(checkpoint, contents, ExportOptions())
    entries = {
        name: replace(entry, weights=_weights(plans, name))
        for name, entry in manifest.graphs.items()
    }
    return replace(manifest, precision=precision.value, graphs=entries)


@functools.cache
def _planned(model: ModelName) -> tuple[Checkpoint, graphs.BundlePlan]:
    checkpoint, _ = shapes_only(model, ANIMATE_14B)
    return checkpoint, graphs.plan(checkpoint)


def _weights(plans: Iterable[TensorPlan], graph: str) -> dict[str, dict[str, StoredTensor]]:
    weights: dict[str, dict[str, StoredTensor]] = {}
    for plan in plans:
        if plan.graph == graph:
            sha256 = hashlib.sha256(repr(plan.recipe).encode()).hexdigest()
            tensor = StoredTensor(sha256, plan.shape, plan.recipe)
            for weight_set in plan.weight_sets:
                weights.setdefault(weight_set, {})[plan.parameter] = tensor
    return weights
