"""The graph that TensorRT is given: a bundle's at one size, in operators and types of its own."""

from __future__ import annotations

from pathlib import Path

import onnx

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import GraphSpec
from wan_trt.plan.arithmetic import with_types
from wan_trt.plan.attention import allow_decomposition
from wan_trt.plan.resize import write_out_resizes
from wan_trt.plan.static_graph import StaticGraph, fix_sizes, load_graph
from wan_trt.plan.targets import Target


def network_graph(bundle: Bundle, target: Target) -> StaticGraph:
    """Raises BundleError where the bundle's graph does not fit its manifest."""
    spec = bundle.manifest.graphs[target.graph].spec
    return graph_for_tensorrt(bundle.graph_path(target.graph), spec, target)


def graph_for_tensorrt(file: Path, spec: GraphSpec, target: Target) -> StaticGraph:
    """Of a graph's file. Raises BundleError where it does not fit `spec`, its interface."""
    return with_types(write_out_resizes(fix_sizes(load_graph(file), spec, target)))


def parser_input(graph: StaticGraph) -> bytes:
    """The graph as TensorRT's parser reads it, with attributes that ONNX does not know."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    allow_decomposition(model, graph.types)
    return model.SerializeToString()
