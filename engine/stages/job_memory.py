"""What memory a job needs, before it has any (pure), and whether it can ever have it."""

from __future__ import annotations

from dataclasses import dataclass

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.layout import Layout
from wan_trt.engine.memory.pages import pages_for
from wan_trt.engine.request import Request, is_guided
from wan_trt.engine.schedule import Schedule, expert_for
from wan_trt.engine.stages.branches import Branches, branches_of
from wan_trt.engine.stages.job_layout import denoising_sizes, job_layout
from wan_trt.engine.stages.vae import recurrence_layout
from wan_trt.engine.validation import latent_shape


@dataclass(frozen=True)
class JobState:
    """The tensors that a job has from its first unit to its last."""

    branches: Branches
    sizes: dict[str, int]
    layout: Layout


def job_state(request: Request, schedule: Schedule, manifest: Manifest) -> JobState:
    branches = branches_of(request.model, is_guided(request))
    sizes = denoising_sizes(manifest.geometry, latent_shape(request, manifest))
    experts = {expert_for(timestep, manifest.boundary) for timestep in schedule.timesteps}
    guided = {expert: request.guidance(expert) != 1 for expert in sorted(experts)}
    return JobState(branches, sizes, job_layout(manifest, branches, sizes, guided))


def require_room(request: Request, schedule: Schedule, manifest: Manifest, arena: Arena) -> None:
    """Raises ResourceError for a job that cannot be done though all others are put aside: its
    state, and beside it the VAE's for a clip, are more than the arena has. What is borrowed for
    moments is not counted."""
    *_, height, width = latent_shape(request, manifest)
    sizes = {"height": height, "width": width}
    clips = [
        recurrence_layout(
            (manifest.graphs[f"{name}_first"].spec, manifest.graphs[f"{name}_next"].spec), sizes
        )
        for name in ("vae_encoder", "vae_decoder")
    ]
    state_pages, *clip_pages = (
        pages_for(layout.nbytes, arena.page_nbytes)
        for layout in (job_state(request, schedule, manifest).layout, *clips)
    )
    nbytes = (state_pages + max(clip_pages)) * arena.page_nbytes
    if nbytes > arena.nbytes:
        raise ResourceError(
            f"the job needs {nbytes / 1e6:.0f} MB for its tensors and a clip in the VAE at least; "
            f"there are {arena.nbytes / 1e6:.0f} MB in all",
            expected="a job that fits when it is alone",
            action="use a smaller size or fewer segment frames, or a machine with more memory",
        )
