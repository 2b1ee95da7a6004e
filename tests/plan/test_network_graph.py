"""The graphs that TensorRT is given: types, operators, and that they compute the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from planned import SIZE, evaluate, graph_for_tensorrt, target

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import run
from wan_trt.engine.ort import load_executor
from wan_trt.plan.fusions import expected_fusions
from wan_trt.plan.network_graph import network_graph, parser_input
from wan_trt.plan.parity import bounds_of, compare, parity_inputs
from wan_trt.plan.static_graph import StaticGraph, TensorType, attribute_values, fix_sizes

FLOAT, BFLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.BFLOAT16
WITH_BFLOAT16 = ("denoiser", "segment_context", "text_context", "image_context", "image_encoder")
IN_FLOAT32 = ("motion_encoder", "vae_encoder_first", "vae_decoder_first")


def kinds(graph: StaticGraph, operator: str) -> Counter[str]:
    """The types that the nodes of an operator compute."""
    nodes = [node for node in graph.model.graph.node if node.op_type == operator]
    return Counter(graph.types[node.output[0]].dtype_name for node in nodes)


@pytest.mark.parametrize("name", [*WITH_BFLOAT16, *IN_FLOAT32, "face_context", "text_encoder"])
def test_it_computes_what_onnx_runtime_does(fp8_bundle: Bundle, name: str) -> None:
    """By ONNX's reference implementation, which rounds to bfloat16 and E4M3 as the graph says."""
    engine = target(fp8_bundle, name)
    inputs = parity_inputs(
        engine, fp8_bundle.manifest.graphs[name].inputs, fp8_bundle.manifest.geometry, seed=3
    )
    graph = network_graph(fp8_bundle, engine)
    weights = fp8_bundle.tensor_files(name, engine.weight_set)
    files = {parameter: fp8_bundle.weights_folder / file for parameter, file in weights.items()}
    reference = run(load_executor(fp8_bundle, name, engine.weight_set), engine.best, **inputs)
    found = compare(evaluate(graph.model, files, **inputs), reference, bounds_of(graph), seed=3)
    assert found.failed == (), found.numbers
    if name in IN_FLOAT32:
        assert found.numbers["relative_error"] == pytest.approx(0, abs=1e-5)
    else:
        assert found.numbers["relative_error"] != pytest.approx(0, abs=1e-5)


def test_products_and_attention_are_bfloat16_and_the_residual_stream_is_not(
    fp8_bundle: Bundle,
) -> None:
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    assert set(kinds(graph, "Attention")) == {"bfloat16"}
    for operator in ("Add", "Mul", "LayerNormalization", "RMSNormalization", "RotaryEmbedding"):
        assert set(kinds(graph, operator)) == {"float"}, operator
    # One row, the timestep's: two of its embedding and one of all modulation.
    assert kinds(graph, "MatMul")["float"] == 3
    assert kinds(graph, "MatMul")["bfloat16"] > 30


def test_what_is_rounded_to_e4m3_becomes_bfloat16_in_its_product(fp8_bundle: Bundle) -> None:
    """Scales stay float32, and nothing stands between a DequantizeLinear and its MatMul."""
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    assert set(kinds(graph, "DequantizeLinear")) == {"bfloat16"}
    assert set(kinds(graph, "Softmax")) == {"bfloat16"}
    for node in graph.model.graph.node:
        if node.op_type == "DequantizeLinear":
            assert graph.types[node.input[1]].dtype == FLOAT
            [user] = [n for n in graph.model.graph.node if node.output[0] in n.input]
            assert user.op_type == "MatMul"


def test_where_both_operands_are_rounded_each_scale_is_one_number(fp8_bundle: Bundle) -> None:
    """TensorRT surely multiplies those as E4M3: a matrix's scales, by column, come behind."""
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    nodes = graph.model.graph.node
    makers = {name: node for node in nodes for name in node.output}
    users = {name: node for node in nodes for name in node.input}
    linears = expected_fusions(graph).fp8_linears
    assert linears
    for product in (node for node in nodes if node.op_type == "MatMul"):
        widened = [maker for name in product.input if (maker := makers.get(name))]
        if [node.op_type for node in widened] == ["DequantizeLinear"] * 2:
            assert [graph.types[node.input[1]].shape for node in widened] == [(), ()]
    for linear in linears:
        [product] = [node for node in nodes if node.name == linear.node]
        scaled = users[users[product.output[0]].output[0]]
        assert (scaled.op_type, scaled.input[1]) == ("Mul", f"{linear.name}.weight_scale")
        assert graph.types[scaled.output[0]] == TensorType(
            FLOAT, graph.types[product.output[0]].shape
        )
    context = graph_for_tensorrt(fp8_bundle, "text_context")
    scales = {n.input[1] for n in context.model.graph.node if n.op_type == "DequantizeLinear"}
    assert scales
    assert all(name.endswith("weight_scale") for name in scales)


def test_what_attention_gives_stays_bfloat16_until_it_is_rounded(fp8_bundle: Bundle) -> None:
    """No Cast stands between self attention, FP8 or not, and the rounding for its linear."""
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    makers = {name: node.op_type for node in graph.model.graph.node for name in node.output}
    rounded = [node for node in graph.model.graph.node if node.op_type == "QuantizeLinear"]
    outputs = [node for node in rounded if node.name.endswith("self_attn.o.input_e4m3")]
    assert {makers[node.input[0]] for node in outputs} == {"Attention", "Reshape"}
    for node in outputs:
        assert graph.types[node.input[0]].dtype == BFLOAT16
        assert graph.types[node.input[1]].dtype == FLOAT


@pytest.mark.parametrize("name", ["denoiser", "text_encoder", "image_encoder"])
def test_queries_are_scaled_before_they_are_rounded(fp8_bundle: Bundle, name: str) -> None:
    """The parser would scale query and key in bfloat16, and refuse a softmax_precision."""
    graph = graph_for_tensorrt(fp8_bundle, name)
    attentions = [node for node in graph.model.graph.node if node.op_type == "Attention"]
    assert attentions
    for node in attentions:
        told = attribute_values(node)
        assert told["scale"] == 1
        assert "softmax_precision" not in told
    makers = {name: node for node in graph.model.graph.node for name in node.output}
    makers_of_queries = {makers[makers[node.input[0]].input[0]].op_type for node in attentions}
    assert makers_of_queries == ({"Cast"} if name == "text_encoder" else {"Mul"})


def test_small_attentions_may_be_taken_apart(fp8_bundle: Bundle) -> None:
    """What the parser reads says so, and is the same graph otherwise."""
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    read = onnx.ModelProto.FromString(parser_input(graph))
    marked = [node for node in read.graph.node if attribute_values(node).get("TRT_decomposable")]
    assert Counter(n.op_type for n in marked) == {"Attention": kinds(graph, "Attention").total()}
    for node in marked:
        [attribute] = [a for a in node.attribute if a.name == "TRT_decomposable"]
        node.attribute.remove(attribute)
    assert read == graph.model
    large = {
        name: TensorType(kind.dtype, (1, 75_600, kind.shape[-1]))
        for name, kind in graph.types.items()
        if len(kind.shape) == 3
    }
    changed = StaticGraph(graph.name, graph.model, {**graph.types, **large})
    assert parser_input(changed) == graph.model.SerializeToString()


@pytest.mark.parametrize("name", ["text_context", "image_context", "face_context"])
def test_e4m3_matrices_of_contexts_become_bfloat16(fp8_bundle: Bundle, name: str) -> None:
    """Their products are bfloat16 like those of bfloat16 matrices, and judged so."""
    graph = graph_for_tensorrt(fp8_bundle, name)
    assert not kinds(graph, "QuantizeLinear")
    assert set(kinds(graph, "DequantizeLinear")) == set(kinds(graph, "MatMul")) == {"bfloat16"}
    assert bounds_of(graph) == bounds_of(graph_for_tensorrt(fp8_bundle, "segment_context"))


@pytest.mark.parametrize("name", WITH_BFLOAT16)
def test_types_agree_node_by_node(fp8_bundle: Bundle, name: str) -> None:
    """ONNX's own type inference finds what the rewriting noted."""
    graph, engine = graph_for_tensorrt(fp8_bundle, name), target(fp8_bundle, name)
    again = fix_sizes(graph.model, fp8_bundle.manifest.graphs[name].spec, engine)
    assert {tensor: graph.types[tensor] for tensor in again.types} == again.types


def test_each_tensor_is_cast_once(fp8_bundle: Bundle) -> None:
    graph = graph_for_tensorrt(fp8_bundle, "denoiser").model.graph
    casts = Counter((n.input[0], n.attribute[0].i) for n in graph.node if n.op_type == "Cast")
    assert set(casts.values()) == {1}
    stored = {tensor.name for tensor in graph.initializer}
    assert stored.isdisjoint(name for name, dtype in casts if dtype == BFLOAT16)


def test_parameters_keep_the_type_of_their_files(fp8_bundle: Bundle) -> None:
    """They are mapped: nothing may have to be converted."""
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    stored = fp8_bundle.manifest.graphs["denoiser"].weights["high"]
    names = {"float": "float32", "bfloat16": "bfloat16", "float8e4m3fn": "float8_e4m3fn"}
    external = [tensor for tensor in graph.model.graph.initializer if tensor.external_data]
    assert {tensor.name for tensor in external} == set(stored)
    for tensor in external:
        assert names[graph.types[tensor.name].dtype_name] == stored[tensor.name].made.dtype


def test_attention_that_stays_float32_is_written_out(fp8_bundle: Bundle) -> None:
    graph = graph_for_tensorrt(fp8_bundle, "vae_encoder_first")
    assert not kinds(graph, "Attention")
    assert kinds(graph, "Softmax") == {"float": 1}


def test_pictures_are_resized_by_products_in_float32(fp8_bundle: Bundle) -> None:
    graph = graph_for_tensorrt(fp8_bundle, "image_encoder")
    assert not kinds(graph, "Resize")
    assert kinds(graph, "MatMul")["float"] == 2


def test_an_fp32_bundle_stays_float32(tiny_bundle: Bundle, tmp_path: Path) -> None:
    del tmp_path
    graph = graph_for_tensorrt(tiny_bundle, "denoiser", SIZE)
    assert not kinds(graph, "Attention")
    assert {graph.types[name].dtype for node in graph.model.graph.node for name in node.output} <= {
        FLOAT,
        onnx.TensorProto.INT64,
    }
    engine = target(tiny_bundle, "denoiser")
    geometry = tiny_bundle.manifest.geometry
    inputs = parity_inputs(engine, tiny_bundle.manifest.graphs["denoiser"].inputs, geometry, 0)
    weights = tiny_bundle.tensor_files("denoiser", "high")
    files = {parameter: tiny_bundle.weights_folder / file for parameter, file in weights.items()}
    expected = run(load_executor(tiny_bundle, "denoiser", "high"), engine.best, **inputs)
    found = evaluate(graph.model, files, **inputs)["velocity"]
    np.testing.assert_allclose(found, expected["velocity"], atol=2e-4)
