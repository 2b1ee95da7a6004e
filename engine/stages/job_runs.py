"""What graphs a job will run, at which sizes, before it begins (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from wan_trt.engine.graph_run import GraphRun
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.models import DENOISER
from wan_trt.engine.prompts import clean_prompt
from wan_trt.engine.request import AnimateRequest, Request, is_guided
from wan_trt.engine.schedule import Schedule, expert_for
from wan_trt.engine.segments import SegmentPlan
from wan_trt.engine.stages.encoders import FRAMES_AT_ONCE
from wan_trt.engine.stages.job_memory import job_state
from wan_trt.engine.validation import latent_shape

_VAE = ("vae_encoder_first", "vae_encoder_next", "vae_decoder_first", "vae_decoder_next")


def job_runs(
    request: Request, plan: SegmentPlan, schedule: Schedule, manifest: Manifest
) -> Iterator[GraphRun]:
    """Each kind of run, at least once."""
    *_, height, width = latent_shape(request, manifest)
    for graph in _VAE:
        yield _shared(graph, manifest, height=height, width=width)
    yield from _denoising(request, schedule, manifest)
    if isinstance(request, AnimateRequest):
        yield _shared("image_encoder", manifest, height=request.height, width=request.width)
        yield from _faces(request, plan, manifest)
    if _has_text(request, manifest):  # as many tokens as its words make: plans take any number
        yield _shared("text_encoder", manifest, tokens=manifest.geometry.text_tokens)


def _shared(graph: str, manifest: Manifest, **sizes: int) -> GraphRun:
    return GraphRun(graph, manifest.weight_set(graph), sizes)


def _denoising(request: Request, schedule: Schedule, manifest: Manifest) -> Iterator[GraphRun]:
    state = job_state(request, schedule, manifest)
    graphs = {run.graph: None for run in state.branches.conditional} | {DENOISER: None}
    experts = {expert_for(timestep, manifest.boundary) for timestep in schedule.timesteps}
    for expert in sorted(experts):
        for graph in graphs:
            yield GraphRun(graph, manifest.weight_set(graph, expert), state.sizes)


def _faces(request: AnimateRequest, plan: SegmentPlan, manifest: Manifest) -> Iterator[GraphRun]:
    """Some at a time, then the rest; and a black one for the unconditional branch."""
    counts = {1} if is_guided(request) else set()
    for segment in plan.segments:
        most = min(FRAMES_AT_ONCE, segment.frames)
        counts |= {most, segment.frames % most} - {0}
    for count in sorted(counts):
        yield _shared("motion_encoder", manifest, batch=count)


def _has_text(request: Request, manifest: Manifest) -> bool:
    """Whether it has a prompt that is not one of the model's own, whose rows are stored."""
    stored = {clean_prompt(text) for text in manifest.prompts.values()}
    read = (request.prompt, request.negative_prompt if is_guided(request) else None)
    return any(text and clean_prompt(text) not in stored for text in read)
