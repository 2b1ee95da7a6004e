"""A bundle's graph at one size: symbols are numbers, and what depends on sizes alone is computed.

TensorRT takes symbols too, with an optimisation profile, but fuses more where there is none, and
FP8 attention only there. With numbers every tensor's type is known here, before anything is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import defs, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import GraphSpec
from wan_trt.plan.targets import Target

Type = onnx.TensorProto.DataType
_WHOLE_NUMBERS = frozenset({onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL})
_MOST_COMPUTED = 4096  # numbers: larger tensors would swell the graph
_BITS: Mapping[int, int] = {
    onnx.TensorProto.FLOAT: 32,
    onnx.TensorProto.FLOAT16: 16,
    onnx.TensorProto.BFLOAT16: 16,
    onnx.TensorProto.FLOAT8E4M3FN: 8,
    onnx.TensorProto.INT32: 32,
    onnx.TensorProto.INT64: 64,
    onnx.TensorProto.BOOL: 8,
}


@dataclass(frozen=True)
class TensorType:
    """ONNX element type and shape of a tensor."""

    dtype: int
    shape: tuple[int, ...]

    @property
    def dtype_name(self) -> str:
        return str(onnx.TensorProto.DataType.Name(self.dtype)).lower()

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.count * _BITS[self.dtype] // 8


WriteNode = Callable[[onnx.GraphProto, dict[str, TensorType], onnx.NodeProto], None]
"""(new graph, types of its tensors, a node): adds to both what takes the node's place."""


@dataclass(frozen=True)
class StaticGraph:
    """`model`: the graph without weights. `types` has every tensor's, at the largest sizes where
    the target serves a range; then the model has symbols still."""

    name: str
    model: onnx.ModelProto
    types: Mapping[str, TensorType]

    def rewritten(self, write: WriteNode) -> StaticGraph:
        """A copy whose nodes are those that `write` adds for each node of this one, in order."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        types, nodes = dict(self.types), list(model.graph.node)
        del model.graph.node[:]
        for node in nodes:
            write(model.graph, types, node)
        return StaticGraph(self.name, model, types)

    @property
    def opset(self) -> int:
        return next(entry.version for entry in self.model.opset_import if not entry.domain)


def load_graph(path: Path) -> onnx.ModelProto:
    """A graph without its weights. Raises BundleError for a file that is none."""
    try:
        return onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise BundleError(
            f"{path} is no ONNX graph ({error})", action="copy or export the bundle again"
        ) from None


def fix_sizes(model: onnx.ModelProto, spec: GraphSpec, target: Target) -> StaticGraph:
    """`model` at the sizes of `target`, a copy. Raises BundleError where it does not fit `spec`,
    the interface in its manifest, or has an operator that ONNX does not know."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inference = _Inference(target.graph, copy)
    for tensor in spec.inputs:
        inference.set_input(tensor.name, tensor.shape(target.most))
    kept = [node for node in copy.graph.node if not inference.compute(node)]
    for tensor in spec.outputs:
        inference.require(tensor.name, tensor.shape(target.most))
    if target.is_static:
        _replace_nodes(copy.graph, kept, inference.computed(kept))
        _write_interface(copy.graph, inference.types)
    return StaticGraph(target.graph, copy, inference.types)


class _Inference:
    """Types of tensors node by node, and the values of those that depend on sizes alone."""

    def __init__(self, name: str, model: onnx.ModelProto) -> None:
        self.types: dict[str, TensorType] = {}
        self._name, self._model = name, model
        self._opsets = {entry.domain: entry.version for entry in model.opset_import}
        self._values: dict[str, onnx.TensorProto] = {}
        self._initializers = {tensor.name for tensor in model.graph.initializer}
        for tensor in model.graph.initializer:
            self.types[tensor.name] = TensorType(tensor.data_type, tuple(tensor.dims))
            if not tensor.external_data:
                self._values[tensor.name] = tensor

    def set_input(self, name: str, shape: tuple[int, ...]) -> None:
        value = next((value for value in self._model.graph.input if value.name == name), None)
        if value is None:
            raise BundleError(
                f"graph {self._name} has no input {name}", action="export the bundle again"
            )
        self.types[name] = TensorType(value.type.tensor_type.elem_type, shape)

    def require(self, output: str, shape: tuple[int, ...]) -> None:
        found = self.types.get(output)
        if found is None or found.shape != shape:
            raise BundleError(
                f"output {output} of graph {self._name} is {found and list(found.shape)}",
                expected=f"{list(shape)} as its manifest says",
                action="export the bundle again",
            )

    def compute(self, node: onnx.NodeProto) -> bool:
        """Note the types of a node's outputs; whether their values are known too."""
        inputs = [name for name in node.input if name]
        if node.op_type == "Shape":
            bounds = attribute_values(node)
            shape = self.types[node.input[0]].shape[bounds.get("start", 0) : bounds.get("end")]
            self._know(node.output[0], np.array(shape, np.int64))
            return True
        self._infer(node, inputs)
        known = all(n in self._values and self.types[n].dtype in _WHOLE_NUMBERS for n in inputs)
        if not known or sum(self.types[name].count for name in node.output) > _MOST_COMPUTED:
            return False
        values = {name: numpy_helper.to_array(self._values[name]) for name in inputs}
        results = ReferenceEvaluator(node).run(None, values)
        for name, result in zip(node.output, results, strict=True):
            self._know(name, np.asarray(result))
        return True

    def computed(self, kept: Iterable[onnx.NodeProto]) -> list[onnx.TensorProto]:
        """The computed values that nodes or outputs read."""
        used = {name for node in kept for name in node.input}
        used |= {value.name for value in self._model.graph.output}
        return [self._values[n] for n in self._values if n in used and n not in self._initializers]

    def _know(self, name: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
        tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        self._values[name] = tensor
        self.types[name] = TensorType(tensor.data_type, tuple(tensor.dims))

    def _infer(self, node: onnx.NodeProto, inputs: list[str]) -> None:
        domain = node.domain
        try:
            schema = defs.get_schema(node.op_type, self._opsets.get(domain, 0), domain)
            found = shape_inference.infer_node_outputs(
                schema,
                node,
                {n: onnx.helper.make_tensor_type_proto(*_pair(self.types[n])) for n in inputs},
                {name: self._values[name] for name in inputs if name in self._values},
                opset_imports=list(self._model.opset_import),
            )
        except (
            KeyError,
            defs.SchemaError,
            shape_inference.InferenceError,
            onnx.checker.ValidationError,
        ) as error:
            raise BundleError(
                f"node {node.name} ({node.op_type}) of graph {self._name} makes no sense: "
                f"{' '.join(str(error).split())}",
                action="export the bundle again",
            ) from None
        for name in filter(None, node.output):
            tensor = found[name].tensor_type
            if any(not d.HasField("dim_value") for d in tensor.shape.dim):
                raise BundleError(
                    f"{name}, of node {node.name} ({node.op_type}) in graph {self._name}, has no "
                    "size that follows from the video's",
                    action="export the bundle again",
                )
            self.types[name] = TensorType(
                tensor.elem_type, tuple(dimension.dim_value for dimension in tensor.shape.dim)
            )


def attribute_values(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes that a node has, by name."""
    return {
        attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
    }


def _pair(kind: TensorType) -> tuple[int, tuple[int, ...]]:
    return kind.dtype, kind.shape


def _replace_nodes(
    graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto], values: Iterable[onnx.TensorProto]
) -> None:
    nodes = list(nodes)
    used = {name for node in nodes for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.value_info[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*initializers, *values])


def _write_interface(graph: onnx.GraphProto, types: Mapping[str, TensorType]) -> None:
    for value in (*graph.input, *graph.output):
        value.type.CopyFrom(onnx.helper.make_tensor_type_proto(*_pair(types[value.name])))
