"""When ONNX Runtime widens stored matrices: each one right before the product that reads it.

Nodes that depend on parameters alone may run at any time, and ONNX Runtime runs them first: all FP8
matrices of a denoiser would lie in memory as bfloat16 before the first product, 24 GB for the real
one. So each is given its own shape again, which follows from the product's other operand: it cannot
be had before that is there.

    matrix [in, out] -> Reshape(matrix, [last side of x, -1]) -> DequantizeLinear .. -> MatMul(x, .)
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import helper, numpy_helper

_WIDENING = ("Cast", "DequantizeLinear")
_REST = "rest_of_a_matrix"
_MATRIX = 2


def widen_when_needed(model: onnx.ModelProto) -> None:
    """Change `model`; what it computes stays the same."""
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    users = Counter(name for node in graph.node for name in node.input)
    matrices = {tensor.name for tensor in graph.initializer if len(tensor.dims) == _MATRIX}
    late: dict[str, list[onnx.NodeProto]] = {}  # what comes before a product, by its output
    moved: set[str] = set()
    for node in graph.node:
        if node.op_type != "MatMul":
            continue
        chain = _widening_of(node.input[1], producers, users)
        if not chain or chain[0].input[0] not in matrices:
            continue
        late[node.output[0]] = [*_shaped_by(node.input[0], chain[0]), *chain]
        moved.update(step.output[0] for step in chain)
    if not late:
        return
    graph.initializer.append(numpy_helper.from_array(np.array([-1], np.int64), _REST))
    nodes = [
        each
        for node in graph.node
        if node.output[0] not in moved
        for each in (*late.get(node.output[0], ()), node)
    ]
    del graph.node[:]
    graph.node.extend(nodes)


def _widening_of(
    operand: str, producers: dict[str, onnx.NodeProto], users: Counter[str]
) -> list[onnx.NodeProto]:
    """The nodes, in order, that make the operand of a stored tensor, and of nothing else."""
    chain: list[onnx.NodeProto] = []
    while (node := producers.get(operand)) is not None and node.op_type in _WIDENING:
        if users[operand] != 1:
            return []
        chain.insert(0, node)
        operand = node.input[0]
    return chain


def _shaped_by(operand: str, first: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Nodes that give the tensor which `first` widens its shape, once there is the operand."""
    stored, stem = first.input[0], first.output[0]
    width, shape, matrix = f"{stem}.rows", f"{stem}.shape", f"{stem}.when_needed"
    first.input[0] = matrix
    return [
        helper.make_node("Shape", [operand], [width], name=width, start=-1),
        helper.make_node("Concat", [width, _REST], [shape], name=shape, axis=0),
        helper.make_node("Reshape", [stored, shape], [matrix], name=matrix),
    ]
