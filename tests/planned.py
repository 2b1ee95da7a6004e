"""Engines of a small bundle, and graphs that are run without TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from wan_trt.engine.bundle import Bundle
from wan_trt.export.quantize.policy import Policy
from wan_trt.plan.network_graph import network_graph
from wan_trt.plan.static_graph import StaticGraph
from wan_trt.plan.targets import Target, VideoSize, plan_targets

SIZE = VideoSize(96, 64, 5)
POLICY = Policy.parse(
    '[[linear]]\nmodules = ["*"]\nprecision = "fp8"\n'
    '[[attention]]\nblocks = "1:3"\nprecision = "fp8"\n',
    "mixed",
)


def target(bundle: Bundle, graph: str, weight_set: str = "", size: VideoSize = SIZE) -> Target:
    """The engine of a graph, with its first weight set if none is named."""
    found = plan_targets(bundle.manifest, [size], [graph])
    return next(each for each in found if each.weight_set == weight_set or not weight_set)


def graph_for_tensorrt(bundle: Bundle, graph: str, size: VideoSize = SIZE) -> StaticGraph:
    return network_graph(bundle, target(bundle, graph, size=size))


def evaluate(
    graph: onnx.ModelProto, files: dict[str, Path], **inputs: NDArray[Any]
) -> dict[str, Any]:
    """What a graph computes by ONNX's reference implementation, which knows every type."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    for tensor in model.graph.initializer:
        if tensor.external_data:
            tensor.raw_data = files[tensor.name].read_bytes()
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    names = [value.name for value in model.graph.output]
    return dict(zip(names, ReferenceEvaluator(model).run(names, inputs), strict=True))
