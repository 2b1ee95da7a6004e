"""How many bytes an engine will take, from its graph alone: before a build, and without a GPU.

Scratch is the largest set of activations that are alive at once, in the order of the graph. Views
cost nothing, an operation on single elements may overwrite an operand that dies there, and what is
inside a fused attention is not stored. TensorRT fuses more than that, and adds workspace: the
number says which sizes are out of reach, not the last gigabyte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx

from wan_trt.plan.fusions import expected_fusions, inside_of_fusions
from wan_trt.plan.static_graph import StaticGraph

# The dequantised operand of a product is read as E4M3, where the product is fused as it shall be.
_VIEWS = frozenset({"DequantizeLinear", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_IN_PLACE = frozenset(
    {
        *("Add", "Cast", "Clip", "Div", "Gelu", "LeakyRelu", "Mul", "Neg", "QuantizeLinear"),
        *("Reciprocal", "Sigmoid", "Sqrt", "Sub", "Tanh", "Where"),
    }
)

# A build holds the weights twice. On the host: the engine's and the serialized plan's; parameters,
# and the plan when it is read again, are mapped from their files. On the GPU: the engine's and what
# its tactics are timed with. Others report 50 GB on the GPU and 23 GB on the host for an engine of
# 24 GB (docs/gpu.md).
_BUILD_COPIES = 2


@dataclass(frozen=True)
class Estimate:
    """`nodes` of the graph that TensorRT is given; `weight_nbytes` by stored type; bytes of
    activations, of inputs and outputs, and of a build's peak on host and GPU."""

    nodes: int
    weight_nbytes: Mapping[str, int]
    scratch_nbytes: int
    io_nbytes: int

    @property
    def engine_nbytes(self) -> int:
        return sum(self.weight_nbytes.values())

    @property
    def build_host_nbytes(self) -> int:
        return _BUILD_COPIES * self.engine_nbytes

    @property
    def build_gpu_nbytes(self) -> int:
        return _BUILD_COPIES * self.engine_nbytes + self.scratch_nbytes + self.io_nbytes


def estimate(graph: StaticGraph) -> Estimate:
    weights: Counter[str] = Counter()
    for tensor in graph.model.graph.initializer:
        weights[graph.types[tensor.name].dtype_name] += graph.types[tensor.name].nbytes
    interface = (*graph.model.graph.input, *graph.model.graph.output)
    return Estimate(
        nodes=len(graph.model.graph.node),
        weight_nbytes=dict(weights),
        scratch_nbytes=scratch_nbytes(graph),
        io_nbytes=sum(graph.types[value.name].nbytes for value in interface),
    )


def scratch_nbytes(graph: StaticGraph) -> int:
    """The largest number of bytes of activations alive at once. Inputs, outputs and whatever is
    made of weights alone are not among them."""
    nodes = _without_constants(graph)
    owners = _owners(nodes)
    free = {value.name for value in (*graph.model.graph.input, *graph.model.graph.output)}
    free |= {owners.get(name, name) for name in free}
    free |= set(inside_of_fusions(expected_fusions(graph)))
    last_use = {
        owners.get(name, name): index for index, node in enumerate(nodes) for name in node.input
    }
    alive: dict[str, int] = {}
    most = 0
    for index, node in enumerate(nodes):
        made = {
            name: graph.types[name].nbytes
            for name in node.output
            if name and owners.get(name, name) == name and name not in free
        }
        dying = {
            owner
            for name in node.input
            if (owner := owners.get(name, name)) in alive and last_use[owner] == index
        }
        alive |= made
        most = max(most, sum(alive.values()) - _overwritten(node, dying, made, alive))
        for name in dying | {name for name in made if name not in last_use}:
            del alive[name]
    return most


def _overwritten(
    node: onnx.NodeProto, dying: Iterable[str], made: Mapping[str, int], alive: Mapping[str, int]
) -> int:
    """Bytes that an operation on single elements saves by writing over an operand."""
    if node.op_type not in _IN_PLACE:
        return 0
    return min(sum(made.values()), max((alive[name] for name in dying), default=0))


def _without_constants(graph: StaticGraph) -> list[onnx.NodeProto]:
    """The nodes that compute on inputs: all else is computed while the engine is built."""
    constant = {tensor.name for tensor in graph.model.graph.initializer}
    kept = []
    for node in graph.model.graph.node:
        if all(name in constant for name in node.input if name):
            constant |= set(node.output)
        else:
            kept.append(node)
    return kept


def _owners(nodes: Iterable[onnx.NodeProto]) -> dict[str, str]:
    """Of each view the tensor whose bytes it shows."""
    owners: dict[str, str] = {}
    for node in nodes:
        if node.op_type in _VIEWS:
            owners[node.output[0]] = owners.get(node.input[0], node.input[0])
    return owners
