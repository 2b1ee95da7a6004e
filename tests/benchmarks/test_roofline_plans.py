"""Plans in the roofline, on the made-up TensorRT and driver, beside torch on a CPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_tensorrt
import onnx
import pytest
import torch
from fake_cuda import FakeCuda
from planned_toy import with_plan
from toy_bundle import write_toy_bundle

from roofline import plans
from roofline.random_plan import RandomDenoiser
from roofline.results import Results, Stage
from roofline.session import Plan, Session
from roofline.sizes import TINY, VideoSize
from roofline.work import Ceilings, Linears
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.models import ModelName
from wan_trt.export.precision import Precision
from wan_trt.export.synthetic import sizes as checkpoints
from wan_trt.plan.jobs import EngineJob

VIDEO = VideoSize(48, 32, 3)


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    cuda = FakeCuda()
    with fake_tensorrt.tensorrt_installed(cuda):
        yield cuda


@pytest.fixture
def session() -> Session:
    results = Results({"device": "test"}, {"name": "tiny"}, best=Ceilings(bf16=1e12))
    plan = Plan(TINY, (VIDEO,), VIDEO, 1000, patience=0.0)
    return Session(plan, torch.device("cpu"), 1e6, results, lambda: None)


def make(job: EngineJob) -> None:
    from wan_trt.plan.tensorrt import engine_process

    engine_process.make(job, lambda *_: None)


def test_a_plan_of_random_weights_is_built_and_timed(
    session: Session, cuda: FakeCuda, tmp_path: Path
) -> None:
    """In float32, which ONNX Runtime can run in TensorRT's place."""
    denoiser = RandomDenoiser.trace(ModelName.ANIMATE, checkpoints.TINY, Precision.FP32, tmp_path)
    runner = plans.PlanRunner(session, Device(bindings=cuda))
    runner.measure_one(VIDEO, Linears.BF16, denoiser, tmp_path, make)
    [row] = session.results.measured
    assert (row.stage, row.size, row.attention) == (Stage.FORWARD, "48x32", plans.BY_PLAN)
    assert row.mode == f"TensorRT {fake_tensorrt.__version__}, replayed"
    assert (row.repeats, row.error) == (2, None)
    assert cuda.live == {}


@pytest.mark.parametrize("precision", [Precision.FP8, Precision.BF16])
def test_random_weights_fit_the_graph(precision: Precision, tmp_path: Path) -> None:
    model = ModelName.IMAGE_TO_VIDEO
    denoiser = RandomDenoiser.trace(model, checkpoints.TINY, precision, tmp_path)
    job = denoiser.job(plans.symbols(VIDEO), tmp_path)
    graph = onnx.load(job.model, load_external_data=False).graph
    stored = {tensor.name: tensor for tensor in graph.initializer if tensor.external_data}
    assert job.weights.keys() == stored.keys()
    for name, file in job.weights.items():
        [length] = (int(e.value) for e in stored[name].external_data if e.key == "length")
        assert Path(file).stat().st_size == length
    assert len(set(job.weights.values())) < len(stored) / 2
    quantized = any(node.op_type == "QuantizeLinear" for node in graph.node)
    assert quantized == (precision is Precision.FP8)


def test_a_build_that_fails_or_would_end_too_late_is_a_row(
    session: Session, cuda: FakeCuda
) -> None:
    def fail(job: EngineJob) -> None:
        raise RuntimeError(f"no memory for {Path(job.model).name}")

    arguments = ModelName.ANIMATE, checkpoints.TINY, fail
    plans.PlanRunner(session, Device(bindings=cuda)).measure_random(*arguments)
    hasty = Session(session.plan, session.device, 1.0, Results({}, {}), lambda: None)
    plans.PlanRunner(hasty, Device(bindings=cuda)).measure_random(*arguments)
    told = {missing.what: missing.why for missing in session.results.missing}
    assert told == {
        f"TensorRT plans, {linears}, 48x32": "RuntimeError: no memory for model.onnx"
        for linears in ("fp8", "bf16")
    }
    assert all("TimeoutError" in missing.why for missing in hasty.results.missing)
    assert len(hasty.results.missing) == 2


def test_plans_of_a_bundle(session: Session, cuda: FakeCuda, tmp_path: Path) -> None:
    bundle = with_plan(write_toy_bundle(tmp_path / "bundle"), "denoiser", plans.symbols(VIDEO))
    found = bundle.manifest.geometry
    dit = replace(TINY, dim=found.dim, heads=found.heads, layers=found.layers)
    larger = VideoSize(64, 48, 3)
    session.plan = replace(session.plan, dit=dit, videos=(VIDEO, larger))
    runner = plans.PlanRunner(session, Device(bindings=cuda))
    runner.measure_bundle(bundle.path)
    [row] = session.results.measured
    assert (row.size, row.linears) == ("48x32", "bf16")
    assert math.isfinite(row.median_s)
    [missing] = session.results.missing
    assert missing.what == "TensorRT plans at 64x48"
    assert "none of the denoiser for Fake H100 and TensorRT 11.4" in missing.why
    session.plan = replace(session.plan, dit=replace(dit, layers=41))
    runner.measure_bundle(bundle.path)
    assert "is no tiny: see --model" in session.results.missing[-1].why


@pytest.mark.usefixtures("cuda")
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    absent: set[str] = set()
    monkeypatch.setattr(plans, "find_spec", lambda name: None if name in absent else object())
    assert plans.why_missing(torch.device("cuda")) is None
    assert plans.why_missing(torch.device("cpu")) == "plans run on a GPU alone"
    absent.add("wan_trt")
    assert "wan-trt is not installed" in str(plans.why_missing(torch.device("cuda")))
    absent.add("tensorrt")
    assert plans.why_missing(torch.device("cuda")) == "TensorRT is not installed"
