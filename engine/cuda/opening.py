"""A GPU for a bundle: opened, or said what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda.backend import CudaBackend
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.cuda.graphs import GpuGraphs, plans_for, tensorrt_version
from wan_trt.engine.cuda.served import require_served
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.lanes import APART, TOGETHER, Lane
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.memory.footprint import (
    VAE,
    Footprint,
    VideoSize,
    footprint,
    plan_scratch,
    planned_graphs,
)
from wan_trt.engine.memory.provider_scratch import provider_scratch
from wan_trt.engine.memory.residency import Mode, Residency, decide
from wan_trt.engine.models import DENOISER, REQUIRED_GRAPHS
from wan_trt.engine.ort_cuda import load_on_gpu, try_provider
from wan_trt.engine.plan_entry import PlanEntry
from wan_trt.engine.request import default_frames

_SIZES = ((720, 1280), (480, 832))
"""Height and width of what the models are made for, the largest first."""


def open_cuda(bundle: Bundle, open_device: Callable[[], Device] = Device) -> CudaBackend:
    """The first GPU, for one engine, which closes it. Raises ResourceError that says what this
    machine lacks to run the bundle there."""
    try:
        device = open_device()
        try:
            plans = plans_for(bundle, device, tensorrt_version())
            provider_error = cache(partial(_provider_error, device))
            _require_executors(bundle, plans, provider_error)
            free_nbytes, _ = device.memory_info()
            needs = needs_of_sizes(bundle.manifest, plans, lambda: provider_error() is None)
            residency, planned = expected_residency(needs, free_nbytes)
            room = room_for_pages(residency, planned)
            lanes = lanes_that_fit(needs, free_nbytes)
            return CudaBackend(
                device,
                GpuGraphs(partial(load_on_gpu, keeps_scratch=room.keeps_scratch)).load,
                lanes=lanes if room.keeps_scratch else TOGETHER,
                experts_nbytes=residency.experts_nbytes,
                pages_nbytes=room.pages_nbytes,
                require_served=partial(require_served, plans, provider_error),
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


@dataclass(frozen=True)
class Need:
    """What a job of a size needs, and which graphs have scratch in pages: those that plans run."""

    footprint: Footprint
    planned: frozenset[str]


def needs_of_sizes(
    manifest: Manifest, plans: Sequence[PlanEntry], has_provider: Callable[[], bool]
) -> list[Need]:
    """Of each size that is served, the largest first: by `plans`, which run here, or by ONNX
    Runtime's provider where there is one. Of all, where neither serves one of them."""
    required = frozenset(REQUIRED_GRAPHS[manifest.model])
    frames = default_frames(manifest.model)
    sizes = [VideoSize(height, width, frames) for height, width in _SIZES]
    planned = {size: planned_graphs(manifest, size, plans) for size in sizes}
    if all(planned[size] >= required for size in sizes) or not has_provider():
        served = [size for size in sizes if planned[size] >= required] or sizes
        every = frozenset(manifest.graphs)
        return [Need(_footprint(manifest, size, plans, every), every) for size in served]
    return [Need(_footprint(manifest, size, plans, planned[size]), planned[size]) for size in sizes]


def lanes_that_fit(needs: Sequence[Need], free_nbytes: int) -> tuple[Lane, ...]:
    """Two, where two jobs and the work of VAE and denoiser fit beside each other at the
    largest size. Else one: each lane keeps scratch of its own, which would take memory from jobs
    that fit alone."""
    residency = decide(needs[0].footprint, free_nbytes, jobs=2)
    return APART if residency.concurrent else TOGETHER


def expected_residency(needs: Sequence[Need], free_nbytes: int) -> tuple[Residency, frozenset[str]]:
    """For a job of the largest size that runs at all; where none does, of the smallest. And the
    graphs that plans run there."""
    found = [(decide(need.footprint, free_nbytes), need.planned) for need in needs]
    return next((each for each in found if each[0].mode is not Mode.NONE), found[-1])


@dataclass(frozen=True)
class Room:
    """What the arena may hold, and whether ONNX Runtime keeps a denoiser's scratch from step to
    step."""

    pages_nbytes: int
    keeps_scratch: bool


def room_for_pages(residency: Residency, planned: frozenset[str]) -> Room:
    """Weights lie beside the arena, and so does the scratch of graphs that have no plan. The VAE's
    comes and goes; each expert's is kept, unless a job would then have no room. `planned` are the
    graphs that plans run at that size.

    Raises ResourceError where nothing is left."""
    needed, keeps_scratch, scratch = residency.footprint, True, 0
    if residency.mode is not Mode.NONE:  # else jobs are of smaller sizes than these
        experts = 1 if residency.experts_nbytes else len(needed.experts)
        step = 0 if DENOISER in planned else needed.denoising.scratch
        clip = max(
            0 if planned >= {*graphs} else needed.vae[label].scratch
            for label, graphs in VAE.items()
        )
        job = needed.job + max(stage.tensors for stage in needed.vae.values())
        keeps_scratch = residency.pages_nbytes - experts * step - clip >= job
        scratch = experts * step + clip if keeps_scratch else max(step, clip)
    nbytes = residency.pages_nbytes - scratch
    if nbytes <= 0:
        engines = residency.need.total - residency.need.state - residency.need.work
        raise ResourceError(
            f"its memory has {residency.free_nbytes / 1e9:.1f} GB free",
            expected=f"more than {(engines + scratch) / 1e9:.1f} GB, for weights and scratch",
            action="end what else runs on this GPU, use a larger one, or export with "
            "--precision fp8",
        )
    return Room(nbytes, keeps_scratch)


def _footprint(
    manifest: Manifest, size: VideoSize, plans: Sequence[PlanEntry], planned: frozenset[str]
) -> Footprint:
    """Graphs that are not `planned` are ONNX Runtime's."""
    others = provider_scratch(manifest, size)
    scratch = {graph: nbytes for graph, nbytes in others.items() if graph not in planned}
    return footprint(manifest, size, plan_scratch(manifest, size, plans) | scratch)


def _provider_error(device: Device) -> ResourceError | None:
    """Why ONNX Runtime's provider runs nothing here."""
    try:
        with device.gate.loading():
            try_provider(device.ordinal)
    except ResourceError as error:
        return error
    return None


def _require_executors(
    bundle: Bundle,
    plans: Sequence[PlanEntry],
    provider_error: Callable[[], ResourceError | None],
) -> None:
    """Graphs without a plan need ONNX Runtime's provider: said now, not in the middle of a job."""
    planned = {plan.graph for plan in plans}
    without = [graph for graph in REQUIRED_GRAPHS[bundle.manifest.model] if graph not in planned]
    if without and (error := provider_error()) is not None:
        raise ResourceError(
            f"{error.given}, and the bundle has no TensorRT plans of {', '.join(without)} that run "
            "here",
            expected="either",
            action=f"{error.action}, or build plans with `wan-trt build`",
        )
