"""A GPU for a bundle: opened, or said what is missing."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime  # type: ignore[import-untyped]

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda.backend import CudaBackend
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.cuda.graphs import GpuGraphs, plans_for, tensorrt_version
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.lanes import APART, TOGETHER, Lane
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.memory.footprint import VideoSize, footprint
from wan_trt.engine.memory.residency import decide
from wan_trt.engine.models import REQUIRED_GRAPHS
from wan_trt.engine.ort_cuda import load_on_gpu, require_provider

LARGEST = VideoSize(720, 1280, 77)
"""What a GPU is asked for at most: the models' own size."""


def open_cuda(bundle: Bundle, open_device: Callable[[], Device] = Device) -> CudaBackend:
    """The first GPU, for one engine, which closes it. Raises ResourceError that says what this
    machine lacks to run the bundle there."""
    try:
        device = open_device()
        try:
            _require_executors(bundle, device)
            free_nbytes, _ = device.memory_info()
            lanes = lanes_that_fit(bundle.manifest, free_nbytes)
            return CudaBackend(device, GpuGraphs(load_on_gpu).load, lanes=lanes)
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
    """Two, where two jobs and the work of VAE and denoiser fit beside each other at `LARGEST`. Else
    one: each lane keeps scratch of its own, which would take memory from jobs that fit alone."""
    residency = decide(footprint(manifest, LARGEST, scratch={}), free_nbytes, jobs=2)
    return APART if residency.concurrent else TOGETHER


def _require_executors(bundle: Bundle, device: Device) -> None:
    """Graphs without a plan need ONNX Runtime's provider: said now, not in the middle of a job."""
    planned = {plan.graph for plan in plans_for(bundle, device, tensorrt_version())}
    without = [graph for graph in REQUIRED_GRAPHS[bundle.manifest.model] if graph not in planned]
    if not without:
        return
    try:
        require_provider(onnxruntime.get_available_providers())
    except ResourceError as error:
        raise ResourceError(
            f"{error.given}, and the bundle has no TensorRT plans of {', '.join(without)} that run "
            "here",
            expected="either",
            action=f"{error.action}, or build plans with `wan-trt build`",
        ) from None
