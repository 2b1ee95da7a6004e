"""Wrong scales of FP8 bundles: what a run shows is judged, what none shows is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from calibration_samples import write_gate_sample
from changed_bundles import (
    with_exchanged_tensors,
    with_plain_recipes,
    with_scaled_tensor,
    with_swapped_experts,
)

from wan_trt.calibration.calibrate import CalibrationOptions, calibrate
from wan_trt.calibration.gate.gate import gate
from wan_trt.calibration.gate.job import JobOptions, made_up_job
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.verdict import Verdict
from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.request import ExpertName
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.lora.spec import LoraSpec, LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.scales import Scales
from wan_trt.export.synthetic.lora import write_musubi_lora
from wan_trt.export.synthetic.sizes import TINY

HIGH, LOW = ExpertName.HIGH, ExpertName.LOW
OF_ANOTHER = "of the high-noise expert that were not measured for it"
TEXT_SCALE = "blocks.1.cross_attn.k.weight_scale", 8.0
HIDDEN = [f"blocks.{block}.ffn.2" for block in range(TINY.layers)]


@dataclass(frozen=True)
class Parted:
    """A model whose experts differ: a LoRA makes the low-noise one's feed forward much louder.
    `reference` is float32, `scales` were measured on the gate's own job."""

    checkpoint: Path
    options: ExportOptions
    reference: Bundle
    scales: Scales

    def export(self, out: Path, **changes: Any) -> Bundle:
        """At FP8; `changes` of the scales, as of a faulty calibration."""
        scales = replace(self.scales, **changes)
        options = replace(self.options, precision=Precision.FP8, scales=scales)
        return export_bundle(self.checkpoint, out, options)

    def judge(self, candidate: Bundle) -> Verdict:
        """By thresholds for a model of width 64, which rounding changes more than a real one."""
        thresholds = Thresholds.read()
        velocity = replace(thresholds.velocity, cosine_min=0.995, relative_error_max=0.1)
        job = made_up_job(self.reference.manifest, JobOptions())
        return gate(candidate, self.reference, [job], replace(thresholds, velocity=velocity))


@pytest.fixture(scope="module")
def parted(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Parted:
    folder = tmp_path_factory.mktemp("parted")
    targets = [f"blocks.{block}.ffn.0" for block in range(TINY.layers)]
    lora = write_musubi_lora(folder / "lora.safetensors", TINY, targets=targets, ratio=16.0)
    options = ExportOptions(LoraStacks(low=(LoraSpec(lora),)), reuse=(tiny_bundle.path,))
    reference = export_bundle(tiny_checkpoint, folder / "reference", options)
    options = replace(options, reuse=(reference.path,))
    write_gate_sample(folder / "inputs" / "one")
    scales = calibrate(
        tiny_checkpoint, folder / "inputs", folder, CalibrationOptions(export=options)
    )
    return Parted(tiny_checkpoint, options, reference, scales)


@pytest.fixture(scope="module")
def bundle(parted: Parted, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return parted.export(tmp_path_factory.mktemp("fp8") / "bundle")


def failures(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.failed}


def test_right_scales_pass(parted: Parted, bundle: Bundle) -> None:
    ratios = [parted.scales.ranges[LOW][x] / parted.scales.ranges[HIGH][x] for x in HIDDEN]
    assert min(ratios) > 4, "the experts' ranges differ"
    assert failures(parted.judge(bundle)) == set()


def test_a_weight_scale_8_times_too_large_fails(parted: Parted, tmp_path: Path) -> None:
    """One that calibration has not fitted; of those that it has, a bundle cannot be opened."""
    plain = parted.export(tmp_path / "plain", fitted={})
    broken = with_scaled_tensor(plain, "blocks.1.ffn.0.weight_scale", 8, tmp_path / "bundle")
    assert {"velocity.cosine.high", "velocity.cosine.low"} <= failures(parted.judge(broken))


def test_ranges_8_times_too_small_fail(parted: Parted, tmp_path: Path) -> None:
    """The inputs of one layer saturate, as by a faulty calibration."""
    layer = HIDDEN[1]
    ranges = {e: {**own, layer: own[layer] / 8} for e, own in parted.scales.ranges.items()}
    broken = parted.export(tmp_path / "bundle", ranges=ranges)
    assert "velocity.relative_error.low" in failures(parted.judge(broken))


def test_ranges_measured_for_the_other_expert_fail(parted: Parted, tmp_path: Path) -> None:
    """A calibration that confuses the experts: the louder one saturates."""
    ranges = parted.scales.ranges
    broken = parted.export(tmp_path / "bundle", ranges={HIGH: ranges[LOW], LOW: ranges[HIGH]})
    failed = failures(parted.judge(broken))
    assert {"velocity.cosine.low", "velocity.relative_error.low"} <= failed
    assert "velocity.cosine.high" not in failed, "too large a range does no harm"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda b, out: with_scaled_tensor(b, "blocks.1.ffn.2.input_scale", 8, out),
            r"another tensor as blocks\.1\.ffn\.2\.input_scale of graph denoiser \(high-noise",
        ),
        (
            lambda b, out: with_scaled_tensor(b, "blocks.1.ffn.2.input_scale", 1 / 8, out),
            r"another tensor as blocks\.1\.ffn\.2\.input_scale",
        ),
        (
            lambda b, out: with_scaled_tensor(b, "blocks.1.ffn.2.weight_scale", 8, out),
            r"another tensor as blocks\.1\.ffn\.2\.weight_scale of graph denoiser \(high-noise",
        ),
        (
            lambda b, out: with_scaled_tensor(b, *TEXT_SCALE, out, "text_context"),
            r"another tensor as blocks\.1\.cross_attn\.k\.weight_scale of graph text_context",
        ),
        (partial(with_exchanged_tensors, suffix=".input_scale"), OF_ANOTHER),
        (partial(with_exchanged_tensors, suffix="ffn.0.weight_scale"), "another tensor as"),
        (partial(with_exchanged_tensors, suffix=".bias"), OF_ANOTHER),
        (partial(with_plain_recipes, suffix=".bias"), OF_ANOTHER),
        (partial(with_plain_recipes, suffix=".weight_scale"), "another tensor as"),
        (with_swapped_experts, OF_ANOTHER),
    ],
    ids=[
        "input's, 8 times",
        "input's, an eighth",
        "columns', 8 times",
        "a context's columns', 8 times",
        "inputs', of the other expert",
        "columns', of the other expert",
        "biases of the other expert",
        "biases that were not fitted",
        "columns that were not fitted",
        "all of the other expert",
    ],
)
def test_stored_scales_are_those_that_were_measured(
    bundle: Bundle, tmp_path: Path, change: Callable[[Bundle, Path], Bundle], said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        change(bundle, tmp_path / "bundle")


def test_the_gate_refuses_swapped_scales(
    parted: Parted, bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BundleError):
        with_exchanged_tensors(bundle, tmp_path / "bundle", suffix=".input_scale")
    words = [str(tmp_path / "bundle"), "--against", str(parted.reference.path)]
    assert main(["gate", *words]) == 2
    assert "not measured for it; expected those of its own" in capsys.readouterr().err
