"""Bytes that an engine will take, from its graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from planned import graph_for_tensorrt

from wan_trt.engine.bundle import Bundle
from wan_trt.plan.estimate import estimate, scratch_nbytes
from wan_trt.plan.static_graph import StaticGraph, TensorType
from wan_trt.plan.targets import VideoSize

KILO = 1000  # numbers of a row


def graph(*nodes: onnx.NodeProto, **shapes: tuple[int, ...]) -> StaticGraph:
    """`x` -> nodes -> `y`, float32; tensors have 1000 numbers where no shape is given."""
    names = {name for node in nodes for name in (*node.input, *node.output)}
    types = {name: TensorType(TensorProto.FLOAT, shapes.get(name, (KILO,))) for name in names}
    weight = numpy_helper.from_array(np.zeros(KILO, np.float32), "w")
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, types[n].shape) for n in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", value[:1], value[1:], [weight]),
        opset_imports=[helper.make_opsetid("", 23)],
    )
    return StaticGraph("g", model, types | {"w": TensorType(TensorProto.FLOAT, (KILO,))})


def node(operator: str, inputs: str, output: str) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=output)


def test_what_is_alive_at_once_counts() -> None:
    """`b` is gone when `d` is made: two of three at any time."""
    made = graph(
        node("Softmax", "x", "a"),
        node("Softmax", "a", "b"),
        node("MatMul", "a b", "d"),
        node("Softmax", "d", "y"),
    )
    assert scratch_nbytes(made) == 3 * 4 * KILO  # a, b and d


def test_inputs_and_outputs_are_not_scratch() -> None:
    made = graph(node("Softmax", "x", "y"))
    assert scratch_nbytes(made) == 0
    assert estimate(made).io_nbytes == 2 * 4 * KILO


def test_single_elements_are_overwritten() -> None:
    chain = [node("Softmax", "x", "a"), node("Gelu", "a", "b"), node("Softmax", "b", "y")]
    assert scratch_nbytes(graph(*chain)) == 4 * KILO
    still_used = [*chain[:2], node("MatMul", "a b", "y")]
    assert scratch_nbytes(graph(*still_used)) == 2 * 4 * KILO


def test_a_view_is_its_source() -> None:
    """`a` lives until its view has been read."""
    made = graph(
        node("Softmax", "x", "a"),
        node("Reshape", "a", "view"),
        node("Softmax", "x", "b"),
        node("MatMul", "view b", "y"),
    )
    assert scratch_nbytes(made) == 2 * 4 * KILO


def test_what_is_made_of_weights_is_not_scratch() -> None:
    made = graph(node("Softmax", "w", "a"), node("MatMul", "x a", "y"))
    assert scratch_nbytes(made) == 0


def test_the_widest_moment_decides() -> None:
    made = graph(
        node("MatMul", "x w", "a"),
        node("MatMul", "a w", "b"),
        node("MatMul", "b w", "y"),
        b=(4, KILO),
    )
    assert scratch_nbytes(made) == 5 * 4 * KILO


def test_weights_by_type_are_the_bundles(fp8_bundle: Bundle) -> None:
    found = estimate(graph_for_tensorrt(fp8_bundle, "denoiser"))
    stored = fp8_bundle.manifest.graphs["denoiser"].weights["high"].values()
    matrices = sum(np.prod(t.shape) for t in stored if t.made.dtype == "float8_e4m3fn")
    assert found.weight_nbytes["float8e4m3fn"] == matrices + 1  # and the zero point
    files = sum(fp8_bundle.manifest.files[f"weights/{t.sha256}"].nbytes for t in stored)
    assert found.engine_nbytes == pytest.approx(files, rel=0.01)
    assert found.build_host_nbytes == 2 * found.engine_nbytes
    assert found.build_gpu_nbytes > 2 * found.engine_nbytes + found.scratch_nbytes


def test_scratch_grows_with_the_video_and_not_with_its_square(fp8_bundle: Bundle) -> None:
    """Neither attention stores scores: FP8 attention, which is written out, as little as others."""
    small, large = (
        estimate(graph_for_tensorrt(fp8_bundle, "denoiser", VideoSize(16 * n, 16 * n, 77)))
        for n in (20, 40)
    )
    assert large.scratch_nbytes == pytest.approx(4 * small.scratch_nbytes, rel=0.01)


def test_the_vaes_attention_stores_its_scores(fp8_bundle: Bundle) -> None:
    found = estimate(graph_for_tensorrt(fp8_bundle, "vae_decoder_next", VideoSize(1280, 720, 77)))
    assert found.scratch_nbytes > 2 * 4 * (90 * 160) ** 2
