"""Graphs are as simple as the library's own optimiser would have made them."""

from __future__ import annotations

from collections import Counter

import onnx_ir
import pytest
from exported import GRAPHS
from onnxscript.rewriter import rewrite

from wan_trt.engine.bundle import Bundle


@pytest.mark.parametrize("name", GRAPHS)
def test_no_rule_of_the_library_finds_work(tiny_bundle: Bundle, name: str) -> None:
    model = onnx_ir.load(tiny_bundle.graph_path(name))
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, onnx_ir.ExternalTensor):
            value.const_value = None  # its data is not beside the graph
    before = Counter(node.op_type for node in model.graph)
    rewrite(model)
    assert Counter(node.op_type for node in model.graph) == before
