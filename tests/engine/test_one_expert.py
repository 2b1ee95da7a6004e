"""Where only one expert has room: never are both loaded, and nothing else is different."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from full_size_manifest import full_size_manifest
from made_up_gpu import MadeUpGpu
from toy_jobs import MakeBundle, MakeRequest, Sink, run_to_end

from wan_trt.engine import Bundle, Engine, Sampling
from wan_trt.engine.backend import Backend
from wan_trt.engine.cuda.opening import expected_residency, needs_of_sizes
from wan_trt.engine.dispatch import SchedulingOptions
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executor import Executor
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.memory.footprint import expert_nbytes
from wan_trt.engine.models import ModelName
from wan_trt.engine.one_expert import one_expert
from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.export.precision import Precision

OpenBackend = Callable[[int | None], Backend]
STEPS = Sampling(steps=6)


@pytest.fixture(params=["host", "made-up GPU"])
def open_backend(request: pytest.FixtureRequest, tmp_path: Path) -> OpenBackend:
    """open_backend(experts_nbytes)"""
    if request.param == "host":
        return lambda nbytes: HostBackend(threads=1, experts_nbytes=nbytes)
    gpu = MadeUpGpu(tmp_path)
    return lambda nbytes: gpu.backend(experts_nbytes=nbytes)


def room_for_one(bundle: Bundle) -> int:
    return max(expert_nbytes(bundle.manifest).values())


def experts_in(executors: Executors) -> set[str]:
    return {weight_set for _, weight_set in executors.loaded} - {"shared"}


@pytest.mark.parametrize("policy", Policy)
def test_jobs_take_turns_with_one_expert_and_give_the_same_frames(
    make_bundle: MakeBundle, make_request: MakeRequest, open_backend: OpenBackend, policy: Policy
) -> None:
    bundle = make_bundle(high=0.5, low=0.25)
    requests = [make_request(seed=seed, sampling=STEPS) for seed in range(3)]
    alone = []
    with Engine(bundle, 1) as engine:
        for request in requests:
            engine.generate(request, sink := Sink())
            alone.append(sink.frames)
        assert experts_in(engine._executors) == {"high", "low"}
    sinks = [Sink() for _ in requests]
    seen = set[str]()
    with Engine(
        bundle, backend=open_backend(room_for_one(bundle)), scheduling=SchedulingOptions(policy)
    ) as engine:
        for request, sink in zip(requests, sinks, strict=True):
            engine.submit(request, sink)
        while engine.step():
            loaded = experts_in(engine._executors)
            assert len(loaded) <= 1
            seen |= loaded
    assert seen == {"high", "low"}
    for sink, frames in zip(sinks, alone, strict=True):
        np.testing.assert_array_equal(sink.frames, frames)


def test_the_other_experts_files_are_read_beside_the_last_step(
    make_bundle: MakeBundle, make_request: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(high=0.5, low=0.25)
    asked: list[str] = []
    advise = os.posix_fadvise

    def note(file: int, offset: int, length: int, advice: int) -> None:
        asked.append(Path(f"/proc/self/fd/{file}").readlink().name)
        advise(file, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", note)
    backend = HostBackend(threads=1, experts_nbytes=room_for_one(bundle))
    with Engine(bundle, backend=backend) as engine:
        engine.submit(make_request(frames=5, sampling=STEPS), Sink())
        before: list[list[str]] = []
        while engine.step():
            engine._experts.read_ahead.wait()
            if experts_in(engine._executors) == {"high"}:
                before.append(list(asked))
    files = {expert: [path.name for path in bundle.expert_files(expert)] for expert in ExpertName}
    assert files[ExpertName.LOW]
    assert not set(files[ExpertName.LOW]) & set(files[ExpertName.HIGH])
    assert set(before[-1]) == set(files[ExpertName.LOW]), "while the first one is at work"


def test_a_load_that_fails_ends_one_job_and_the_next_one_loads_again(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    bundle = make_bundle(high=0.5, low=0.25)
    plain = HostBackend(threads=1)
    fail = [True]

    def load(bundle: Bundle, graph: str, weight_set: str) -> Executor:
        if (graph, weight_set) == ("denoiser", "low") and fail:
            fail.clear()
            raise ResourceError("no room for it")
        return plain.load(bundle, graph, weight_set)

    backend = HostBackend(1, load, experts_nbytes=room_for_one(bundle))
    with Engine(bundle, backend=backend) as engine:
        first = engine.submit(make_request(), Sink())
        second = engine.submit(make_request(), Sink())
        run_to_end(engine)
        states = sorted(engine.summary(job_id).state.value for job_id in (first, second))
    plain.close()
    assert states == ["done", "failed"]


def test_both_experts_stay_where_they_fit_or_are_the_same(make_bundle: MakeBundle) -> None:
    bundle = make_bundle(high=0.5, low=0.25)
    both = sum(expert_nbytes(bundle.manifest).values())
    assert one_expert(bundle, None) is None
    assert one_expert(bundle, both) is None
    assert one_expert(bundle, both - 1) is not None


def test_a_gpu_has_room_for_both_or_for_one() -> None:
    """FP8 at 1280x720 without plans: both on an H200, one at a time on an H100, and at 832x480 on
    an L40S; on 24 GB for one and a job of a smaller size."""
    manifest = full_size_manifest(ModelName.ANIMATE, Precision.FP8)
    needs = needs_of_sizes(manifest, (), lambda: True)

    def room_for_experts(mebibytes: int) -> int | None:
        return expected_residency(needs, mebibytes << 20)[0].experts_nbytes

    assert room_for_experts(134_000) is None
    assert room_for_experts(81_079) == max(expert_nbytes(manifest).values())
    assert room_for_experts(45_500) == max(expert_nbytes(manifest).values())
    assert room_for_experts(24_000) == max(expert_nbytes(manifest).values())


def test_equal_experts_are_one(make_bundle: MakeBundle) -> None:
    assert one_expert(make_bundle(), 1) is None
