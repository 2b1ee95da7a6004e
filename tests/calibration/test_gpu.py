"""Calibration on a GPU: what it gives, and what lies in the GPU's memory meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from calibration_samples import GoldenCalibration

from wan_trt.calibration.calibrate import CalibrationOptions, calibrated
from wan_trt.calibration.modelopt import quantise_e4m3
from wan_trt.calibration.ranges import Method, MethodName, RangeObserver
from wan_trt.calibration.recording import Recording
from wan_trt.calibration.search import search_calibrated
from wan_trt.calibration.torch_executor import run_module
from wan_trt.calibration.torch_graphs import TorchGraphs
from wan_trt.calibration.velocity_error import VelocityErrors
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.options import ExportOptions
from wan_trt.export.quantize.evidence import worst

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]

# Sums in another order move latents from step to step; E4M3's own step is 6 % and more.
RANGE_TOLERANCE = 1e-3
# A value near the middle of two E4M3 numbers may fall to either side.
ERROR_TOLERANCE = 0.05
# What the allocator rounds each tensor up to.
ALLOCATED_NBYTES = 512


@pytest.fixture(scope="module")
def on_gpu(
    golden: Path, golden_bundle: Bundle, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GoldenCalibration]:
    """As the fixture `calibration`, which is on the CPU."""
    recording = Recording()
    options = CalibrationOptions(
        export=ExportOptions(reuse=(golden_bundle.path,)), device=torch.device("cuda")
    )
    told, work = (recording.before_call,), tmp_path_factory.mktemp("work")
    with calibrated(
        golden / "checkpoint", samples, work, options, told, lambda _: None, None
    ) as found:
        yield GoldenCalibration(found, recording)


def test_ranges_are_those_of_the_cpu(
    on_gpu: GoldenCalibration, calibration: GoldenCalibration
) -> None:
    found, expected = on_gpu.found.scales, calibration.found.scales
    assert found.origin.tools["device"] == torch.cuda.get_device_name()
    assert found.origin.sampling["timesteps"] == expected.origin.sampling["timesteps"]
    for expert in ExpertName:
        assert found.ranges[expert] == pytest.approx(expected.ranges[expert], rel=RANGE_TOLERANCE)


@pytest.mark.parametrize("name", MethodName)
def test_each_method_sees_tensors_of_a_gpu(name: MethodName) -> None:
    generator = torch.Generator().manual_seed(3)
    calls = [scale * torch.randn(50, 400, generator=generator) for scale in (0.5, 1.0, 3.0)]
    ranges = []
    for device in ("cpu", "cuda"):
        observer = RangeObserver(Method(name))
        for call in (torch.zeros(4, 4), *calls):
            observer.see(call.to(device))
        ranges.append(observer.range())
    assert ranges[1] == pytest.approx(ranges[0], rel=RANGE_TOLERANCE)


@pytest.mark.parametrize("greatest", [torch.tensor(2.0), torch.linspace(0.5, 4, 30)[None]])
def test_e4m3_rounds_alike(greatest: torch.Tensor) -> None:
    values = 2 * torch.randn(70, 30, generator=torch.Generator().manual_seed(1))
    found = quantise_e4m3(values.cuda(), greatest.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), quantise_e4m3(values, greatest))


def test_one_expert_at_a_time_has_its_weights_there(
    i2v_checkpoint: Path, i2v_bundle: Bundle
) -> None:
    planned = {DENOISER: graphs.plan(Checkpoint.open(i2v_checkpoint)).expert[DENOISER]}
    weights = i2v_bundle.manifest.graphs[DENOISER].weights["high"].values()
    nbytes = sum(4 * math.prod(tensor.shape) for tensor in weights)
    most = nbytes + ALLOCATED_NBYTES * len(weights)
    before = torch.cuda.memory_allocated()
    denoisers = TorchGraphs(i2v_bundle, planned, torch.device("cuda"))
    assert torch.cuda.memory_allocated() == before
    torch.cuda.reset_peak_memory_stats()
    for expert in (ExpertName.HIGH, ExpertName.LOW, ExpertName.HIGH):
        module = denoisers.of_expert(DENOISER, expert)
        assert {tensor.device.type for tensor in module.state_dict().values()} == {"cuda"}
        for other in denoisers.modules.values():
            if other is not module:
                assert {tensor.device.type for tensor in other.state_dict().values()} == {"meta"}
        assert nbytes <= torch.cuda.memory_allocated() - before <= most
    assert torch.cuda.max_memory_allocated() - before <= most, "also while they change places"


def test_a_velocity_is_the_cpu_s(on_gpu: GoldenCalibration, calibration: GoldenCalibration) -> None:
    for expert, calls in calibration.recording.spread(0.9, 2).items():
        for call in calls:
            inputs = dict(call.inputs)
            for context in call.contexts:
                module = calibration.found.graphs.of_expert(context.graph, expert)
                inputs |= run_module(module, context.inputs, torch.device("cpu"))
            expected, found = (
                run_module(x.found.graphs.of_expert(DENOISER, expert), inputs, torch.device(device))
                for x, device in ((calibration, "cpu"), (on_gpu, "cuda"))
            )
            np.testing.assert_allclose(
                found["velocity"], expected["velocity"], atol=1e-3, rtol=1e-3
            )


def test_a_search_runs(on_gpu: GoldenCalibration, calibration: GoldenCalibration) -> None:
    """To the end, and measures what a CPU does."""
    spread = calibration.recording.spread(0.9, 1)
    own = VelocityErrors(on_gpu.found.graphs, spread, calibration.found.scales)
    expected = VelocityErrors(calibration.found.graphs, spread, calibration.found.scales)
    linears = ("blocks.0.self_attn.q", "blocks.9.ffn.2", "face_adapter.fuser_blocks.0.linear2")
    for name in linears:
        for expert, error in expected.alone([name])[name].items():
            measured = own.alone([name])[name][expert]
            assert measured.total == pytest.approx(error.total, rel=ERROR_TOLERANCE)
    whole = worst(own.together(list(on_gpu.found.scales.ranges[ExpertName.HIGH])).values())
    policy = search_calibrated(on_gpu.found, own, whole / 2)
    assert policy.evidence is not None
    assert policy.evidence.trials[-1].error >= 0
    assert 0 < len(policy.linear[0].modules) < len(policy.evidence.linears)
