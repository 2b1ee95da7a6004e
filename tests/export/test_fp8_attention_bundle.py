"""Bundles with FP8 attention: what a policy changes, and which scales are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import ExpertName
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.policy import Policy
from wan_trt.export.quantize.scales import Scales
from wan_trt.export.synthetic.scales import synthetic_scales

POLICY = Policy.parse('[[attention]]\nblocks = "1:3"\nprecision = "fp8"\n', "attention")
OPERANDS = ("query", "key", "value")
NAMES = {f"blocks.{block}.self_attn.attention.{x}" for block in (1, 2) for x in OPERANDS}


@pytest.fixture(scope="module")
def scales(tiny_checkpoint: Path, tiny_loras: LoraStacks) -> Scales:
    return synthetic_scales(tiny_checkpoint, tiny_loras, POLICY)


def options(loras: LoraStacks, scales: Scales, *reuse: Path) -> ExportOptions:
    return ExportOptions(loras, precision=Precision.FP8, policy=POLICY, scales=scales, reuse=reuse)


def test_a_policy_of_attention_alone(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    tiny_bundle: Bundle,
    scales: Scales,
    tmp_path: Path,
) -> None:
    """No matrix is FP8, each expert has scales of its own, and the graph is one."""
    out = tmp_path / "bundle"
    bundle = export_bundle(tiny_checkpoint, out, options(tiny_loras, scales, tiny_bundle.path))
    assert scales.ranges[ExpertName.HIGH].keys() == NAMES
    for expert in ExpertName:
        stored = bundle.manifest.graphs["denoiser"].weights[expert]
        assert {tensor.made.dtype for tensor in stored.values()} == {"float32", "bfloat16"}
        scaled = {name for name in stored if name.endswith("_scale")}
        assert scaled == {f"{name}.input_scale" for name in NAMES}
        for name, greatest in scales.ranges[expert].items():
            file = bundle.weights_folder / stored[f"{name}.input_scale"].sha256
            assert np.fromfile(file, np.float32) == np.float32(greatest) / np.float32(448)
    before, after = kinds(tiny_bundle), kinds(bundle)
    assert after["Softmax"] == 2
    assert after["Attention"] == before["Attention"] - 2
    assert after["QuantizeLinear"] == after["DequantizeLinear"] == 8
    bundle.verify()


def kinds(bundle: Bundle) -> Mapping[str, int]:
    """How many nodes of each kind the denoiser has."""
    file = bundle.path / "graphs" / "denoiser.onnx"
    nodes = [node.op_type for node in onnx.load(file, load_external_data=False).graph.node]
    return {kind: nodes.count(kind) for kind in nodes}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"blocks.1.self_attn.attention.key": None}, "lack blocks.1.self_attn.attention.key"),
        (dict.fromkeys(NAMES), "lack blocks.1.self_attn.attention.key, blocks.1"),
        (
            {"blocks.3.self_attn.attention.key": 1.0},
            "have ranges that nothing uses: blocks.3.self_attn.attention.key",
        ),
    ],
)
def test_scales_that_do_not_fit_are_refused(
    tiny_checkpoint: Path,
    tiny_loras: LoraStacks,
    scales: Scales,
    tmp_path: Path,
    change: Mapping[str, float | None],
    said: str,
) -> None:
    low = {**scales.ranges[ExpertName.LOW], **change}
    ranges = {name: value for name, value in low.items() if value is not None}
    changed = replace(scales, ranges={**scales.ranges, ExpertName.LOW: ranges})
    with pytest.raises(InputError, match=f"low-noise expert {said}") as raised:
        export_bundle(tiny_checkpoint, tmp_path / "b", options(tiny_loras, changed))
    assert raised.value.field == "scales"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_ranges_of_attention_are_numbers_above_zero(scales: Scales, value: float) -> None:
    name = "blocks.1.self_attn.attention.query"
    with pytest.raises(InputError, match=f"range of high/{name} is {value}"):
        replace(scales, ranges={ExpertName.HIGH: {name: value}})
