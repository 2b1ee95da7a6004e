"""The tensors of a job, all of them, before it has any memory (pure).

They follow from the graphs' interfaces: the denoiser's inputs and velocities, what the context
graphs read and write, the solver's history, and the numbers of a step.
"""

from __future__ import annotations

from collections.abc import Mapping

from wan_trt.engine.backend import STEP_BLOCK_WORDS
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.memory.layout import Layout, TensorShape, shapes_of
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.engine.stages.branches import Branch, Branches

UNCONDITIONAL_VELOCITY = "unconditional_velocity"
STEP_BLOCK = "step_block"
SOLVER_SAMPLE, SOLVER_NEWEST, SOLVER_OLDER = "solver_sample", "solver_newest", "solver_older"

_ALWAYS = ("latents", "rope_cos", "rope_sin", "velocity")
_LIKE_LATENTS = (SOLVER_SAMPLE, SOLVER_NEWEST, SOLVER_OLDER)


def denoising_sizes(geometry: Geometry, latent_shape: tuple[int, ...]) -> dict[str, int]:
    """The symbols of denoiser and contexts for latents [16, F, h, w]."""
    _, frames, height, width = latent_shape
    return {
        "frames": frames,
        "latents": frames - 1,  # of the video, where frame 0 is the reference's
        "rows": height // geometry.patch,
        "columns": width // geometry.patch,
    }


def job_layout(
    manifest: Manifest,
    branches: Branches,
    sizes: Mapping[str, int],
    guided: Mapping[ExpertName, bool],
) -> Layout:
    """`guided` says of each expert that runs whether its steps have an unconditional branch."""
    spec = manifest.graphs[DENOISER].spec
    own = shapes_of((*spec.inputs, *spec.outputs), sizes)
    shapes = {name: own[name] for name in _ALWAYS}
    shapes |= dict.fromkeys(_LIKE_LATENTS, own["latents"])
    shapes[STEP_BLOCK] = TensorShape((STEP_BLOCK_WORDS,), "int64")
    shapes |= _contexts(manifest, branches.conditional, sizes, tuple(guided))
    if branches.unconditional is not None:
        shapes[UNCONDITIONAL_VELOCITY] = own["velocity"]
        experts = tuple(expert for expert, is_guided in guided.items() if is_guided)
        shapes |= _contexts(manifest, branches.unconditional, sizes, experts)
    return Layout(shapes)


def _contexts(
    manifest: Manifest, branch: Branch, sizes: Mapping[str, int], experts: tuple[ExpertName, ...]
) -> dict[str, TensorShape]:
    """Inputs and outputs of a branch's contexts, as these experts compute them."""
    shapes: dict[str, TensorShape] = {}
    for run in branch:
        spec = manifest.graphs[run.graph].spec
        inputs = shapes_of(spec.inputs, sizes)
        shapes |= {own: inputs[name] for name, own in run.inputs.items()}
        for name, shape in shapes_of(spec.outputs, sizes).items():
            for expert in experts:
                shapes[run.output_name(name, manifest.weight_set(run.graph, expert))] = shape
    return shapes
