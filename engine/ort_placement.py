"""Where ONNX Runtime has put the nodes of a graph: nothing that computes may fall back to the CPU.

The CUDA provider leaves arithmetic about sizes to the CPU on purpose: kernels want their shapes
there. Whatever else it leaves would make each run copy tensors to the host and wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx
from onnx.external_data_helper import uses_external_data

CPU = "CPUExecutionProvider"
_SHOWN = 8
_SIZES = ("Shape", "Size")


@dataclass(frozen=True)
class PlacedNode:
    """A node, and the provider that runs it."""

    name: str
    operator: str
    provider: str

    def __str__(self) -> str:
        return f"{self.operator} {self.name}"


def name_nodes(model: onnx.ModelProto) -> None:
    """Give nodes without a name one: what nodes are told apart by."""
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"


def nodes_of_sizes(model: onnx.ModelProto) -> frozenset[str]:
    """Names of the nodes that compute with sizes and constants of the graph alone, not with values
    of its inputs or parameters."""
    known = {"", *(t.name for t in model.graph.initializer if not uses_external_data(t))}
    names = set()
    for node in model.graph.node:
        if node.op_type in _SIZES or known.issuperset(node.input):
            names.add(node.name)
            known.update(node.output)
    return frozenset(names)


def fallen_back(placed: Iterable[PlacedNode], of_sizes: frozenset[str]) -> tuple[PlacedNode, ...]:
    """The nodes that the CPU runs and should not."""
    return tuple(node for node in placed if node.provider == CPU and node.name not in of_sizes)


def describe(nodes: tuple[PlacedNode, ...]) -> str:
    """The first of them, and how many more there are."""
    shown = ", ".join(map(str, nodes[:_SHOWN]))
    return f"{shown} and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else shown
