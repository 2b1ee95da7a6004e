"""The inspector's JSON: what is one kernel and what is not.

The samples are written by hand after TensorRT's documentation and others' logs; no plan of ours has
been inspected yet.
"""

from __future__ import annotations

import json
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

ATTENTION = AttentionFusion("node_attention__3", ("node_attention__3",), (), 128, is_fp8=False)
FP8_ATTENTION = AttentionFusion("mixed", ("scores", "softmax", "mixed"), (), 128, is_fp8=True)
LINEAR = LinearFusion("blocks.0.ffn.0", "node_matmul")


def layer(name: str, *nodes: str, types: tuple[str, ...] = (), tactic: str = "") -> dict[str, Any]:
    return {
        "Name": name,
        "LayerType": "kgen",
        "Inputs": [{"Name": f"t{i}", "DataType": kind} for i, kind in enumerate(types)],
        "Outputs": [],
        "TacticName": tactic,
        "Metadata": "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes),
    }


def unfused(fusions: Fusions, *layers: dict[str, Any]) -> tuple[str, ...]:
    text = json.dumps({"Layers": layers, "I/O Tensors": []})
    return inspect(read_layers(text), fusions, required=True).unfused


FUSED = layer("_gemm_mha_v2_myl0_7", "node_attention__3", types=("BFloat16",) * 3)
CAST = layer("__myl_CastTran_myl0_6", "node_attention__3", "value.cast", types=("Float",))


def test_one_kernel_with_what_moves_data_around_it() -> None:
    assert unfused(Fusions((ATTENTION,), ()), CAST, FUSED) == ()


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([], "attention node_attention__3: no layer mentions it"),
        (
            [
                layer("gemm_1", "node_attention__3"),
                layer("__myl_MaxSubExpSum", "node_attention__3"),
                layer("gemm_2", "node_attention__3"),
            ],
            "attention node_attention__3: made of gemm_1, __myl_MaxSubExpSum, gemm_2",
        ),
        (
            [FUSED, layer("gemm_9", "node_attention__3")],
            "attention node_attention__3: made of _gemm_mha_v2_myl0_7, gemm_9",
        ),
        ([CAST], "attention node_attention__3: made of __myl_CastTran_myl0_6"),
    ],
)
def test_an_attention_that_is_not_one_kernel(layers: list[dict[str, Any]], said: str) -> None:
    assert unfused(Fusions((ATTENTION,), ()), *layers) == (said,)


def test_a_product_named_after_an_attention_is_none() -> None:
    """Layers are named after ONNX nodes, which say what they like."""
    named = layer("self_attn.mha.scores_gemm", "self_attn.mha.scores")
    attention = AttentionFusion("a", ("self_attn.mha.scores",), (), 128, is_fp8=False)
    assert unfused(Fusions((attention,), ()), named) == (
        "attention a: made of self_attn.mha.scores_gemm",
    )


def test_fp8_attention_reads_fp8() -> None:
    fusions = Fusions((FP8_ATTENTION,), ())
    fused = layer("_gemm_mha_v2", "scores", "softmax", "mixed", types=("FP8", "FP8", "FP8"))
    assert unfused(fusions, fused) == ()
    wide = layer("_gemm_mha_v2", "scores", "softmax", "mixed", types=("BFloat16",))
    assert unfused(fusions, wide) == ("attention mixed: _gemm_mha_v2 reads BFloat16",)


def test_an_fp8_linear_is_a_product_of_fp8() -> None:
    fusions = Fusions((), (LINEAR,))
    by_type = layer("gemm_3", "node_matmul", types=("FP8", "FP8"))
    by_tactic = layer("l", "node_matmul", tactic="sm90_xmma_gemm_e4m3bf16_e4m3f32_f32_tn_n")
    assert unfused(fusions, by_type) == unfused(fusions, by_tactic) == ()
    wide = layer("gemm_4", "node_matmul", "x.input_e4m3", types=("BFloat16", "BFloat16"))
    assert unfused(fusions, wide) == (
        "FP8 linear blocks.0.ffn.0: made of gemm_4, which reads BFloat16",
    )
    assert unfused(fusions) == ("FP8 linear blocks.0.ffn.0: no layer mentions it",)


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
