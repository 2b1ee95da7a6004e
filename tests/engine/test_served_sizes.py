"""A job whose size nothing runs is refused when it is submitted, not in its middle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from full_size_manifest import full_size_manifest
from planned_toy import plan_entry
from toy_jobs import MakeBundle, MakeRequest, Sink

from wan_trt.engine import Bundle, Engine, ImageToVideoRequest, Request, Sampling
from wan_trt.engine.cuda.served import require_served
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.graph_run import GraphRun
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.models import ModelName
from wan_trt.engine.plan_entry import PlanEntry
from wan_trt.engine.stages.job_runs import job_runs
from wan_trt.engine.validation import validate_request
from wan_trt.export.precision import Precision
from wan_trt.plan.targets import VideoSize, plan_targets

NO_PROVIDER = ResourceError("there is no CUDA provider", action="install onnxruntime-gpu")
GUIDED = Sampling(steps=3, guidance=(2.0, 3.0))


def built(manifest: Manifest, size: VideoSize) -> list[PlanEntry]:
    """The plans that `wan-trt build` would make for a size."""
    return [
        replace(plan_entry(target.graph, {}, target.weight_set), symbols=target.symbols)
        for target in plan_targets(manifest, [size])
    ]


class Planned(HostBackend):
    """Takes what these plans serve."""

    def __init__(self, plans: list[PlanEntry], provider_error: ResourceError | None) -> None:
        super().__init__(threads=1)
        self.plans, self.provider_error = plans, provider_error

    def require_served(self, runs: Iterable[GraphRun]) -> None:
        require_served(self.plans, lambda: self.provider_error, runs)


def submit(bundle: Bundle, request: Request, backend: HostBackend) -> Sink:
    sink = Sink()
    with Engine(bundle, backend=backend) as engine:
        engine.submit(request, sink)
    return sink


def test_plans_of_its_size_run_a_job(make_bundle: MakeBundle, make_request: MakeRequest) -> None:
    """Every graph, with a prompt, guidance and both experts."""
    bundle = make_bundle(high=0.5, low=0.25)
    request = make_request(prompt="a cat", negative_prompt="a dog", sampling=GUIDED)
    submit(bundle, request, Planned(built(bundle.manifest, VideoSize(32, 16, 5)), NO_PROVIDER))


@pytest.mark.parametrize("size", [VideoSize(48, 16, 5), VideoSize(32, 16, 9)])
def test_plans_of_another_size_do_not(
    make_bundle: MakeBundle, make_request: MakeRequest, size: VideoSize
) -> None:
    bundle = make_bundle()
    with pytest.raises(
        ResourceError, match=r"serves .*denoiser.* at this size .*no CUDA prov"
    ) as e:
        submit(bundle, make_request(), Planned(built(bundle.manifest, size), NO_PROVIDER))
    assert "wan-trt build" in e.value.action
    submit(
        bundle, make_request(), Planned(built(bundle.manifest, size), None)
    )  # the provider runs it


@pytest.mark.parametrize("graph", ["text_encoder", "motion_encoder", "image_encoder", "denoiser"])
def test_one_missing_plan_is_named(
    make_bundle: MakeBundle, make_request: MakeRequest, graph: str
) -> None:
    bundle = make_bundle(high=0.5, low=0.25)
    kept = [
        plan
        for plan in built(bundle.manifest, VideoSize(32, 16, 5))
        if (plan.graph, plan.weight_set) not in {(graph, "shared"), (graph, "low")}
    ]
    request = make_request(prompt="a cat", sampling=GUIDED)
    with pytest.raises(ResourceError, match=f"no TensorRT plan serves {graph} at"):
        submit(bundle, request, Planned(kept, NO_PROVIDER))


@pytest.mark.parametrize("frames", [81, 77])
def test_image_to_video(frames: int) -> None:
    """The real model's size; nothing is run."""
    manifest = full_size_manifest(ModelName.IMAGE_TO_VIDEO, Precision.FP8)
    picture = np.zeros((720, 1280, 3), np.uint8)
    request = ImageToVideoRequest(reference=picture, area=1280 * 720, sampling=GUIDED)
    plans = built(manifest, VideoSize(request.width, request.height, frames))
    runs = job_runs(request, *validate_request(request, manifest), manifest)
    if frames == request.frames:
        require_served(plans, lambda: NO_PROVIDER, runs)
    else:
        with pytest.raises(ResourceError, match="no TensorRT plan serves"):
            require_served(plans, lambda: NO_PROVIDER, runs)
