"""A GPU for a bundle: opened, or said what is missing."""

from __future__ import annotations

from collections.abc import Callable

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda.backend import CudaBackend
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.cuda.graphs import GpuGraphs, plans_for, tensorrt_version
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.lanes import APART, TOGETHER, Lane
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.memory.footprint import VideoSize, footprint, plan_scratch
from wan_trt.engine.memory.residency import Mode, decide
from wan_trt.engine.models import REQUIRED_GRAPHS
from wan_trt.engine.ort_cuda import load_on_gpu, try_provider
from wan_trt.engine.request import default_frames

_SIZES = ((720, 1280), (480, 832))
"""Height and width of what the models are made for, the largest first."""


def open_cuda(bundle: Bundle, open_device: Callable[[], Device] = Device) -> CudaBackend:
    """The first GPU, for one engine, which closes it. Raises ResourceError that says what this
    machine lacks to run the bundle there."""
    try:
        device = open_device()
        try:
            _require_executors(bundle, device)
            free_nbytes, _ = device.memory_info()
            return CudaBackend(
                device,
                GpuGraphs(load_on_gpu).load,
                lanes=lanes_that_fit(bundle.manifest, free_nbytes),
                experts_nbytes=room_for_experts(bundle.manifest, free_nbytes),
            )
        except BaseException:
            device.close()
            raise
    except ResourceError as error:
        raise ResourceError(
            f"cuda, but {error.given}",
            expected=error.expected,
            action=f"{error.action}; `wan-trt doctor` shows what this machine can run",
            field="device",
        ) from None


def lanes_that_fit(manifest: Manifest, free_nbytes: int) -> tuple[Lane, ...]:
    """Two, where two jobs and the work of VAE and denoiser fit beside each other at the
    largest size. Else one: each lane keeps scratch of its own, which would take memory from jobs
    that fit alone."""
    size = VideoSize(*_SIZES[0], default_frames(manifest.model))
    needed = footprint(manifest, size, plan_scratch(manifest, size))
    residency = decide(needed, free_nbytes, jobs=2)
    return APART if residency.concurrent else TOGETHER


def room_for_experts(manifest: Manifest, free_nbytes: int) -> int | None:
    """What is left for the weights of experts where not both fit beside a job of the largest size
    that runs at all; None where both do, or nothing runs."""
    for height, width in _SIZES:
        size = VideoSize(height, width, default_frames(manifest.model))
        needed = footprint(manifest, size, plan_scratch(manifest, size))
        residency = decide(needed, free_nbytes)
        if residency.mode is Mode.BOTH:
            return None
        if residency.mode is Mode.ONE:
            return max(needed.experts.values())
    return None


def _require_executors(bundle: Bundle, device: Device) -> None:
    """Graphs without a plan need ONNX Runtime's provider: said now, not in the middle of a job."""
    planned = {plan.graph for plan in plans_for(bundle, device, tensorrt_version())}
    without = [graph for graph in REQUIRED_GRAPHS[bundle.manifest.model] if graph not in planned]
    if not without:
        return
    try:
        try_provider(device.ordinal)
    except ResourceError as error:
        raise ResourceError(
            f"{error.given}, and the bundle has no TensorRT plans of {', '.join(without)} that run "
            "here",
            expected="either",
            action=f"{error.action}, or build plans with `wan-trt build`",
        ) from None
