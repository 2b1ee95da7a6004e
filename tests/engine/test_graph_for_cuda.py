"""What the CUDA provider is given computes what the CPU provider computes, in its own types."""

from __future__ import annotations

import math
from collections import Counter

import onnx
import pytest
from onnx import shape_inference
from planned import evaluate, target

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import run
from wan_trt.engine.ort import load_executor
from wan_trt.engine.ort_graph import graph_for_cuda
from wan_trt.plan.parity import ParityBounds, compare, parity_inputs

ANY = ParityBounds(cosine_min=-1, relative_error_max=math.inf)


def given(bundle: Bundle, name: str) -> onnx.ModelProto:
    return graph_for_cuda(bundle.graph_path(name))


def types(model: onnx.ModelProto, operator: str) -> Counter[str]:
    """What the nodes of an operator compute, by ONNX's own inference."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    dtypes = {
        value.name: onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        for value in (*inferred.value_info, *inferred.output)
    }
    return Counter(dtypes[n.output[0]] for n in model.graph.node if n.op_type == operator)


@pytest.mark.parametrize("name", ["denoiser", "text_context", "text_encoder", "image_encoder"])
def test_it_computes_what_the_cpu_does(fp8_bundle: Bundle, name: str) -> None:
    """By ONNX's reference implementation, which rounds to bfloat16 and E4M3 as the graph says."""
    engine = target(fp8_bundle, name)
    inputs = parity_inputs(
        engine, fp8_bundle.manifest.graphs[name].inputs, fp8_bundle.manifest.geometry, seed=3
    )
    weights = fp8_bundle.tensor_files(name, engine.weight_set)
    files = {parameter: fp8_bundle.weights_folder / file for parameter, file in weights.items()}
    reference = run(load_executor(fp8_bundle, name, engine.weight_set), engine.best, **inputs)
    found = evaluate(given(fp8_bundle, name), files, **inputs)
    error = compare(found, reference, ANY, seed=3).numbers["relative_error"]
    assert error is not None
    assert 1e-5 < error < (0.05 if name == "denoiser" else 0.01)


def test_products_and_attention_are_bfloat16_and_rounding_is_float32(fp8_bundle: Bundle) -> None:
    """The provider has no kernels that round bfloat16 to E4M3, or widen to it."""
    model = given(fp8_bundle, "denoiser")
    assert set(types(model, "Attention")) == {"BFLOAT16"}
    # One row, the timestep's: two of its embedding and one of all modulation.
    assert types(model, "MatMul")["FLOAT"] == 3
    assert types(model, "MatMul")["BFLOAT16"] > 30
    for operator in ("DequantizeLinear", "LayerNormalization", "RotaryEmbedding"):
        assert set(types(model, operator)) == {"FLOAT"}, operator


def test_an_fp32_bundle_stays_as_it_is(tiny_bundle: Bundle) -> None:
    for name in tiny_bundle.manifest.graphs:
        path = tiny_bundle.graph_path(name)
        assert given(tiny_bundle, name) == onnx.load(str(path), load_external_data=False)
