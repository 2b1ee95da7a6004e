"""All plans of a bundle, built and then served, on the made-up TensorRT and GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_tensorrt
import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from toy_jobs import MakeBundle, MakeRequest

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Engine, Sampling
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.cuda.graphs import GpuGraphs
from wan_trt.engine.errors import GateError, InputError
from wan_trt.plan import build as building
from wan_trt.plan import probe, reference
from wan_trt.plan.build import build
from wan_trt.plan.jobs import BuildOptions
from wan_trt.plan.targets import Target, VideoSize, plan_targets


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MadeUpGpu]:
    """What a build runs in processes of their own is run in this one, on this GPU."""
    gpu = MadeUpGpu(tmp_path)
    with fake_tensorrt.tensorrt_installed(gpu.cuda):
        from wan_trt.plan.tensorrt import engine_process

        for module in (engine_process, probe):
            monkeypatch.setattr(module, "Device", lambda: Device(bindings=gpu.cuda))
        work: dict[str, Any] = {
            "wan_trt.plan.probe": probe.probe,
            "wan_trt.plan.tensorrt.engine_process": engine_process.make,
            "wan_trt.plan.reference": reference.compute,
        }

        def run_here(module: str, job: Any, _result: type, _log: Path, tell: Any) -> Any:
            return work[module](job, tell)

        monkeypatch.setattr(building, "run_job", run_here)
        # Toy graphs have operators that no export writes.
        monkeypatch.setattr(building, "require_supported", lambda _graph: None)
        yield gpu


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Bundle:
    return make_bundle(high=0.5, low=0.25)


def targets(bundle: Bundle, *graphs: str) -> tuple[Target, ...]:
    return plan_targets(bundle.manifest, [VideoSize(32, 16, 5)], graphs or None)


def generate(bundle: Bundle, request: AnimateRequest, gpu: MadeUpGpu | None) -> CollectedFrames:
    def refuse(_bundle: Bundle, graph: str, weight_set: str, _backend: Any) -> Any:
        raise AssertionError(f"{graph} ({weight_set}) has no plan")

    sink = CollectedFrames()
    backend = None if gpu is None else gpu.backend(GpuGraphs(refuse).load)
    with Engine(bundle, threads=None if gpu else 1, backend=backend) as engine:
        engine.generate(request, sink)
    return sink


def test_every_graph_is_built_compared_and_served(
    bundle: Bundle, make_request: MakeRequest, gpu: MadeUpGpu
) -> None:
    told: list[str] = []
    built = build(bundle, targets(bundle), BuildOptions(), lambda p: told.append(p.engine))
    built.verify()
    assert {plan.name for plan in built.manifest.plans} == {t.name for t in targets(bundle)}
    for plan in built.manifest.plans:
        assert (plan.gpu.name, plan.tensorrt) == ("Fake H100", fake_tensorrt.__version__)
        assert plan.parity is not None
        assert plan.parity.failed == ()
        assert plan.scratch_nbytes == fake_tensorrt.SCRATCH_NBYTES
        assert plan.name in told
    request = make_request(sampling=Sampling(steps=5, guidance=(2.0, 1.0)))
    expected, found = generate(bundle, request, None), generate(built, request, gpu)
    np.testing.assert_array_equal(found.frames, expected.frames)
    gpu.require_all_given_back()


@pytest.mark.usefixtures("gpu")
def test_a_pinned_build_needs_the_timings_of_another(bundle: Bundle) -> None:
    chosen = targets(bundle, "denoiser")
    with pytest.raises(InputError, match="pinned: there is no timing cache"):
        build(bundle, chosen, BuildOptions(pinned=True))
    first = build(bundle, chosen, BuildOptions())
    again = build(first, chosen, BuildOptions(pinned=True))
    assert [p.sha256 for p in again.manifest.plans] == [p.sha256 for p in first.manifest.plans]


@pytest.mark.usefixtures("gpu")
def test_a_plan_that_computes_something_else_is_not_recorded(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fake_tensorrt.IExecutionContext._run

    def wrong(context: fake_tensorrt.IExecutionContext) -> None:
        run(context)
        for name in context.engine.types.keys() - set(context.engine._inputs):
            context._array(name, (1, 1))[...] = 1e6

    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "_run", wrong)
    with pytest.raises(GateError, match=r"denoiser-high.* is not what the bundle computes"):
        build(bundle, targets(bundle, "denoiser"), BuildOptions())
    assert Bundle.open(bundle.path).manifest.plans == ()
