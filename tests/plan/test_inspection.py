"""The inspector's JSON: what is one kernel and what is not.

The samples are written by hand, in the form of TensorRT's as others show it: fields, types and
kinds of layers of 11.x as the TensorRT cookbook reads them (NVIDIA/trt-samples-for-hackathon-cn);
names of layers and kernels from issue 4397 of NVIDIA/TensorRT (10.10) and from FP8 plans measured
by others on an RTX 4090 (11.3, `sm89_xmma_gemm_e4m3bf16_e4m3f32..`) and on a Thor (10.16,
`cutlass3x_..gemm_f8_f8_f32..`). No plan of ours has been inspected yet.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from planned import graph_for_tensorrt

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import ExecutionError
from wan_trt.plan.fusions import (
    AttentionFusion,
    Fusions,
    LinearFusion,
    expected_fusions,
)
from wan_trt.plan.inspection import inspect, read_layers

ROWS = [1, 40, 256]
ATTENTION = AttentionFusion("node_attention__3", ("node_attention__3",), (), 128, is_fp8=False)
FP8_ATTENTION = AttentionFusion("mixed", ("scores", "softmax", "mixed"), (), 128, is_fp8=True)
LINEAR = LinearFusion("blocks.0.ffn.0", "node_matmul", math.prod(ROWS))


def tensor(kind: str, *sizes: int) -> dict[str, Any]:
    return {
        "Name": "__mye55968",
        "Location": "Device",
        "Dimensions": list(sizes or ROWS),
        "Format": "Row major linear",
        "Datatype": kind,
    }


def layer(
    name: str, *nodes: str, reads: list[dict[str, Any]], kind: str = "kgen", tactic: str = ""
) -> dict[str, Any]:
    return {
        "Name": name,
        "LayerType": kind,
        "Inputs": reads,
        "Outputs": [tensor("BFloat16")],
        "TacticName": tactic or f"{name.split('_myl0')[0]}_0x957a2fe283f77dcf35c142c1390a3e6a",
        "StreamId": 0,
        "Metadata": "\x1f".join(f"[ONNX Layer: {node}]" for node in nodes),
    }


def gemm(*nodes: str, reads: list[dict[str, Any]], operands: str) -> dict[str, Any]:
    tactic = f"sm90_xmma_gemm_{operands}_f32_tn_n_tilesize128x128x64_stage4_warpsize2x2x1"
    name = f"{'+'.join(nodes).replace('.', '_')}_myl0_7"
    return layer(name, *nodes, reads=reads, kind="gemm", tactic=tactic)


def unfused(fusions: Fusions, *layers: dict[str, Any]) -> tuple[str, ...]:
    text = json.dumps({"Layers": layers, "I/O Tensors": []})
    return inspect(read_layers(text), fusions, required=True).unfused


BFLOAT16, FP8, FLOAT = (tensor(kind) for kind in ("BFloat16", "FP8", "Float"))
FUSED = layer("_gemm_mha_v2_myl0_7", "node_attention__3", reads=[BFLOAT16] * 3)
CAST = layer("__myl_CastTran_myl0_6", "node_attention__3", "value.cast", reads=[FLOAT])
PRODUCT = gemm("node_attention__3", reads=[BFLOAT16] * 2, operands="bf16bf16_bf16f32")
SOFTMAX = layer("__myl_MaxSubExpSumDivMul_myl0_8", "node_attention__3", reads=[BFLOAT16])


def test_one_kernel_with_what_moves_data_around_it() -> None:
    assert unfused(Fusions((ATTENTION,), ()), CAST, FUSED) == ()


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([], "no layer mentions it"),
        ([PRODUCT, SOFTMAX], f"made of {PRODUCT['Name']}, {SOFTMAX['Name']}"),
        ([FUSED, PRODUCT], f"made of {FUSED['Name']}, {PRODUCT['Name']}"),
        ([CAST], f"made of {CAST['Name']}"),
    ],
)
def test_an_attention_that_is_not_one_kernel(layers: list[dict[str, Any]], said: str) -> None:
    assert unfused(Fusions((ATTENTION,), ()), *layers) == (f"attention node_attention__3: {said}",)


def test_a_layer_is_not_what_its_nodes_are_called() -> None:
    """TensorRT names layers after ONNX nodes, dots made underscores; those say what they like."""
    product = gemm("self_attn.mha.scores", reads=[BFLOAT16] * 2, operands="bf16bf16_bf16f32")
    attention = AttentionFusion("a", ("self_attn.mha.scores",), (), 128, is_fp8=False)
    assert unfused(Fusions((attention,), ()), product) == (
        "attention a: made of self_attn_mha_scores_myl0_7",
    )
    named = "Reformatting CopyNode for Input Tensor 0 to node_matmul"
    copy = layer(named, "node_matmul", reads=[FLOAT], kind="Reformat", tactic="0x00000000000003e8")
    product = gemm("node_matmul", reads=[FP8] * 2, operands="e4m3bf16_e4m3f32")
    assert unfused(Fusions((), (LINEAR,)), copy, product) == ()


def test_all_that_a_kernel_of_fp8_attention_reads_is_fp8_but_scales() -> None:
    fusions = Fusions((FP8_ATTENTION,), ())
    name, nodes = "_gemm_mha_v2_myl0_7", ("scores", "softmax", "mixed")
    fused = layer(name, *nodes, reads=[FP8, FP8, FP8, tensor("Float", 1)])
    assert unfused(fusions, fused) == ()
    wide = layer(name, *nodes, reads=[FP8, FP8, BFLOAT16])
    assert unfused(fusions, wide) == (f"attention mixed: {name} reads FP8, FP8, BFloat16",)


@pytest.mark.parametrize(
    "product",
    [
        gemm("node_matmul", reads=[FP8, tensor("FP8", 256, 512)], operands="e4m3bf16_e4m3f32"),
        # The products of q, k and v in one, with what is added in the kernel.
        gemm("node_matmul", "node_matmul_1", reads=[FP8, FLOAT], operands="myelin"),
        layer("__myl_FcAddCast_myl0_9", "node_matmul", "node_add", reads=[FP8], kind="fusion"),
        layer(
            "node_matmul_myl0_3",
            "node_matmul",
            reads=[],
            kind="gemm",
            tactic="cutlass3x_sm100_tensorop_s128x128x32gemm_f8_f8_f32_f16_f16",
        ),
    ],
)
def test_an_fp8_linear_is_a_product_that_reads_its_input_as_fp8(product: dict[str, Any]) -> None:
    assert unfused(Fusions((), (LINEAR,)), product) == ()


@pytest.mark.parametrize(
    "product",
    [
        gemm("node_matmul", "x.input_e4m3", reads=[BFLOAT16] * 2, operands="bf16bf16_bf16f32"),
        # The matrix alone is FP8: widened in the kernel.
        layer("__myl_Fc_myl0_4", "node_matmul", reads=[BFLOAT16, tensor("FP8", 256, 512)]),
        # A kernel's hash may spell anything.
        layer("__myl_Fc_myl0_4", "node_matmul", reads=[BFLOAT16], tactic="__myl_Fc_0x5f8e4m3f8"),
    ],
)
def test_a_product_of_wide_inputs_is_no_fp8_linear(product: dict[str, Any]) -> None:
    [said] = unfused(Fusions((), (LINEAR,)), product)
    start = f"FP8 linear blocks.0.ffn.0: made of {product['Name']}, which reads BFloat16"
    assert said.startswith(start)


def test_a_linear_that_no_layer_mentions() -> None:
    assert unfused(Fusions((), (LINEAR,))) == ("FP8 linear blocks.0.ffn.0: no layer mentions it",)
    # Without detailed verbosity Myelin is one layer.
    whole = layer("{ForeignNode[node_matmul...node_add]}", reads=[FLOAT], kind="Myelin")
    assert unfused(Fusions((), (LINEAR,)), whole) == unfused(Fusions((), (LINEAR,)))


@pytest.mark.parametrize("key", ["Datatype", "DataType", "Format/Datatype"])
def test_types_however_they_are_written(key: str) -> None:
    """11.x as it is, as its documentation has it, and 10.x with an execution context."""
    text = f"Row major linear {FP8['Datatype']} format" if "/" in key else FP8["Datatype"]
    read = {"Name": "__mye1", "Dimensions": ROWS, key: text}
    product = layer("__myl_Fc_myl0_4", "node_matmul", reads=[read])
    assert unfused(Fusions((), (LINEAR,)), product) == ()


def test_everything_that_a_graph_must_have_is_asked_for(fp8_bundle: Bundle) -> None:
    """Self, text, image and face attention of four blocks; two of them FP8."""
    fusions = expected_fusions(graph_for_tensorrt(fp8_bundle, "denoiser"))
    fp8 = [attention.name for attention in fusions.attentions if attention.is_fp8]
    assert fp8 == [f"blocks.{block}.self_attn.attention.mixed" for block in (1, 2)]
    assert len(fusions.attentions) == 4 + 4 + 4 + 2
    weights = fp8_bundle.manifest.graphs["denoiser"].weights["high"]
    matrices = {
        n.removesuffix(".weight") for n, t in weights.items() if t.made.dtype[:6] == "float8"
    }
    assert {linear.name for linear in fusions.fp8_linears} == matrices
    record = inspect((), fusions, required=False)
    assert len(record.unfused) == len(fusions.attentions) + len(matrices)
    assert not record.required


def test_e4m3_matrices_alone_ask_for_no_kernel(fp8_bundle: Bundle) -> None:
    """Of a context nothing need be fused: its products read bfloat16."""
    for name in ("text_context", "image_context", "face_context"):
        graph = graph_for_tensorrt(fp8_bundle, name)
        assert "float8e4m3fn" in {
            graph.types[t.name].dtype_name for t in graph.model.graph.initializer
        }
        fusions = expected_fusions(graph)
        assert fusions.fp8_linears == ()
        assert inspect((), fusions, required=True).unfused == ()


@pytest.mark.parametrize("text", ["", "[]", '{"Layers": ["gemm_1", "gemm_2"]}', '{"Layers": [{}]}'])
def test_json_of_another_form(text: str) -> None:
    """Names only are what less than detailed verbosity gives."""
    with pytest.raises(ExecutionError, match="inspector's JSON is not understood"):
        read_layers(text)
