"""What TensorRT's parser would refuse is found before a build, by node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from exported import GRAPHS
from onnx import numpy_helper
from planned import graph_for_tensorrt, target

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.plan.operators import faults, require_supported, supported_operators
from wan_trt.plan.static_graph import StaticGraph, TensorType, fix_sizes, load_graph

FLOAT = onnx.TensorProto.FLOAT
Change = Callable[[onnx.NodeProto, onnx.GraphProto], None]


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_of_a_bundle_are_supported(fp8_bundle: Bundle, name: str) -> None:
    assert list(faults(graph_for_tensorrt(fp8_bundle, name))) == []


def test_graphs_of_image_to_video_are_supported(i2v_bundle: Bundle) -> None:
    for name in i2v_bundle.manifest.graphs:
        assert list(faults(graph_for_tensorrt(i2v_bundle, name))) == []


def test_the_table_says_where_it_is_from() -> None:
    table = supported_operators()
    assert table.opsets == (9, 25)
    assert {"Attention", "RMSNormalization", "RotaryEmbedding"} <= table.types.keys()


def test_the_picture_is_resized_in_a_way_that_tensorrt_does_not_know(fp8_bundle: Bundle) -> None:
    """Why the graph for TensorRT has products there."""
    model = load_graph(fp8_bundle.graph_path("image_encoder"))
    spec = fp8_bundle.manifest.graphs["image_encoder"].spec
    graph = fix_sizes(model, spec, target(fp8_bundle, "image_encoder"))
    [fault] = [fault for fault in faults(graph) if "Resize" in fault]
    assert fault.endswith("of graph image_encoder has mode cubic")


def _rename(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    del graph
    node.op_type = "Einsam"


def _own_domain(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    del graph
    node.domain = "com.microsoft"


def _second_output(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    del graph
    node.output.append("mean")


def _past(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    del graph
    node.input.extend(["", "past_key"])


def _softcap(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    del graph
    node.attribute.append(onnx.helper.make_attribute("softcap", 30.0))


def _softmax_precision(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    del graph
    node.attribute.append(onnx.helper.make_attribute("softmax_precision", FLOAT))


def _no_heads(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    del graph
    [heads] = [attribute for attribute in node.attribute if attribute.name == "num_heads"]
    node.attribute.remove(heads)


def _zero_point(node: onnx.NodeProto, graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.array(3, np.int8), "three"))
    node.input[2] = "three"


@pytest.mark.parametrize(
    ("operator", "change", "said"),
    [
        ("Gelu", _rename, r"\(Einsam\) of graph denoiser is an operator that TensorRT does not kn"),
        ("Gelu", _own_domain, r"\(Gelu\) of graph denoiser is an operator that TensorRT does not"),
        ("LayerNormalization", _second_output, "has outputs besides the first"),
        ("Attention", _past, "uses past_key: only query, key, value and mask"),
        ("Attention", _softcap, "has a softcap"),
        ("Attention", _softmax_precision, "says how precise its softmax is"),
        ("RotaryEmbedding", _no_heads, "reads rows and does not say of how many heads"),
        ("QuantizeLinear", _zero_point, "has a zero point that is not 0"),
    ],
)
def test_a_node_that_is_not_supported_is_named(
    fp8_bundle: Bundle, operator: str, change: Change, said: str
) -> None:
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    node = next(node for node in graph.model.graph.node if node.op_type == operator)
    change(node, graph.model.graph)
    with pytest.raises(BundleError, match=said) as error:
        require_supported(graph)
    assert f"node {node.name} " in error.value.given


def test_a_type_that_an_operator_does_not_take(fp8_bundle: Bundle) -> None:
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    node = next(node for node in graph.model.graph.node if node.op_type == "Gelu")
    kind = TensorType(onnx.TensorProto.INT64, graph.types[node.input[0]].shape)
    changed = StaticGraph(graph.name, graph.model, {**graph.types, node.input[0]: kind})
    assert any("reads int64, not bfloat16 or float" in fault for fault in faults(changed))


def test_an_opset_that_is_too_new(fp8_bundle: Bundle) -> None:
    graph = graph_for_tensorrt(fp8_bundle, "text_context")
    graph.model.opset_import[0].version = 26
    assert list(faults(graph)) == ["graph text_context has opset 26, not 9 to 25"]


def test_fp8_attention_wants_heads_of_sixteens_and_fixed_sizes(fp8_bundle: Bundle) -> None:
    graph = graph_for_tensorrt(fp8_bundle, "denoiser")
    mixed = "blocks.1.self_attn.attention.mixed"
    product = next(node for node in graph.model.graph.node if node.name == mixed)
    *outer, _ = graph.types[product.output[0]].shape
    kind = TensorType(onnx.TensorProto.BFLOAT16, (*outer, 24))
    changed = StaticGraph(graph.name, graph.model, {**graph.types, product.output[0]: kind})
    assert any("has heads of 24, no multiple of 16" in fault for fault in faults(changed))
    dimension = graph.model.graph.input[0].type.tensor_type.shape.dim[1]
    dimension.dim_param = "frames"
    assert any(f"attention {mixed} of graph denoiser has no fixed size" in f for f in faults(graph))
