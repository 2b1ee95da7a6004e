"""Ranges of FP8 attention, and the whole walk: calibrate, export, run a job."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from calibration_samples import GoldenCalibration

from wan_trt.calibration.calibrate import CalibrationOptions, calibrate
from wan_trt.calibration.gate.gate import gate
from wan_trt.calibration.gate.job import JobOptions, made_up_job
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.observers import Observers
from wan_trt.calibration.ranges import Method, MethodName
from wan_trt.calibration.torch_executor import GraphCall, run_module
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import SHARED
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.modeling.attention import rotate
from wan_trt.export.modeling.denoiser import SelfAttention
from wan_trt.export.options import ExportOptions
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.policy import Policy
from wan_trt.export.quantize.rounding import Rounding

BLOCK = 1
STEM = f"blocks.{BLOCK}.self_attn"


@pytest.mark.parametrize("method", list(MethodName))
def test_ranges_are_of_what_is_rounded(calibration: GoldenCalibration, method: MethodName) -> None:
    """The query after norm, rotary embedding and scaling, the key after norm and rotary embedding;
    computed here from what the self attention reads."""
    graphs, origin = calibration.found.graphs, calibration.found.scales.origin
    rounded = {DENOISER: Rounding.of_graph(DENOISER, (), [BLOCK])}
    observers = Observers(rounded, Method(method), origin.boundary)
    greatest: dict[ExpertName, dict[str, float]] = {}
    for expert, calls in calibration.recording.spread(origin.boundary, 2).items():
        module, own = graphs.of_expert(DENOISER, expert), greatest.setdefault(expert, {})

        def note(
            attention: SelfAttention,
            inputs: tuple[torch.Tensor, ...],
            own: dict[str, float] = own,
        ) -> None:
            x, cosine, sine = inputs
            query = rotate(attention.norm_q(attention.q(x)), cosine, sine, attention.heads)
            key = rotate(attention.norm_k(attention.k(x)), cosine, sine, attention.heads)
            head_dim = x.shape[2] / attention.heads
            for name, tensor in (
                ("query", query / head_dim**0.5),
                ("key", key),
                ("value", attention.v(x)),
            ):
                own[name] = max(own.get(name, 0.0), float(tensor.abs().max()))

        remove = observers.attach(DENOISER, module)
        remove.append(module.get_submodule(STEM).register_forward_pre_hook(note).remove)
        for call in calls:
            inputs = dict(call.inputs)
            for context in call.contexts:
                contexts = graphs.of_expert(context.graph, expert)
                inputs |= run_module(contexts, context.inputs, torch.device("cpu"))
            observers.before_call(GraphCall(DENOISER, SHARED, inputs, {}))
            run_module(module, inputs, torch.device("cpu"))
        for stop in remove:
            stop()
    for expert, ranges in observers.ranges().items():
        found = {name.removeprefix(f"{STEM}.attention."): x for name, x in ranges.items()}
        if method is MethodName.MAX:
            assert found == pytest.approx(greatest[expert], rel=1e-6)
        else:
            assert found.keys() == greatest[expert].keys()
            assert all(0 < x <= greatest[expert][name] * 1.000001 for name, x in found.items())


def test_from_samples_to_a_job(
    golden: Path, golden_bundle: Bundle, samples: Path, tmp_path: Path
) -> None:
    """FP8 attention in half of the blocks, and the job that the gate runs."""
    policy = Policy.parse(
        """
        [[linear]]
        modules = ["blocks.1.self_attn.*"]
        precision = "fp8"
        [[attention]]
        blocks = "1:3"
        precision = "fp8"
        """,
        "own",
    )
    reuse = ExportOptions(reuse=(golden_bundle.path,))
    checkpoint = golden / "checkpoint"
    scales = calibrate(checkpoint, samples, tmp_path, CalibrationOptions(reuse, policy))
    scales.write(tmp_path / "scales")
    options = ExportOptions(
        precision=Precision.FP8,
        policy=policy,
        scales=tmp_path / "scales",
        reuse=(golden_bundle.path,),
    )
    bundle = export_bundle(checkpoint, tmp_path / "bundle", options)
    job = made_up_job(bundle.manifest, JobOptions())
    verdict = gate(bundle, golden_bundle, [job], Thresholds.read(), threads=2)
    cosines = [check for check in verdict.checks if check.name.startswith("velocity.cosine")]
    assert len(cosines) == 2
    assert all(0.99 < check.value < 0.9999999 for check in cosines)
