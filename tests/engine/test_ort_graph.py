"""The CPU provider's own attention gives what the standard operator gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import TensorProto, helper

from wan_trt.engine.ort_graph import graph_for_cpu

SHAPES = {"query": (3, 40, 32), "key": (3, 7, 32), "value": (3, 7, 32), "result": (3, 40, 32)}


def _write(path: Path, inputs: list[str], **attributes: Any) -> None:
    node = helper.make_node("Attention", inputs, ["result"], **attributes)
    shapes = SHAPES | {"mask": (40, 7)}
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])
        for name in (*inputs, "result")
    ]
    graph = helper.make_graph([node], "attention", tensors[:-1], tensors[-1:])
    opset = [helper.make_opsetid("", 23)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=11), path)


def _run(graph: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, feeds)[0]
    return result


def test_plain_attention_is_replaced_and_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    _write(path, ["query", "key", "value"], q_num_heads=4, kv_num_heads=4)
    found = graph_for_cpu(path)
    assert [node.op_type for node in found.graph.node] == ["MultiHeadAttention"]
    generator = np.random.default_rng(0)
    feeds = {
        name: generator.standard_normal(SHAPES[name]).astype(np.float32)
        for name in ("query", "key", "value")
    }
    expected = _run(path.read_bytes(), feeds)
    np.testing.assert_allclose(
        _run(graph_for_cpu(path).SerializeToString(), feeds), expected, atol=1e-6
    )


@pytest.mark.parametrize(
    ("inputs", "attributes"),
    [
        (["query", "key", "value", "mask"], {"q_num_heads": 4, "kv_num_heads": 4}),
        (["query", "key", "value"], {"q_num_heads": 4, "kv_num_heads": 4, "is_causal": 1}),
        (["query", "key", "value"], {"q_num_heads": 4, "kv_num_heads": 4, "scale": 1.0}),
    ],
)
def test_what_it_cannot_say_is_left_alone(
    tmp_path: Path, inputs: list[str], attributes: dict[str, float]
) -> None:
    path = tmp_path / "graph.onnx"
    _write(path, inputs, **attributes)
    found = graph_for_cpu(path)
    assert [node.op_type for node in found.graph.node] == ["Attention"]
    assert [opset.domain for opset in found.opset_import] == [""]
