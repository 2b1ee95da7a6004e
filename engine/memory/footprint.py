"""What a bundle needs of a GPU's memory at one size, in bytes (pure).

Weights are those of the manifest: every engine has a copy of its own, also of tensors that two
engines have in common. A job's state is its layout's without guidance (stages/job_layout), the
caches of the VAE are as the graphs declare them. Scratch is what plans say or, of graphs
that ONNX Runtime runs, what was measured; else it is estimated:

* denoiser: the residual in float32, queries, keys, values and the hidden layer of the feed-forward
  network in the precision of the arithmetic, all of one block at once;
* VAE: what upstream's peaks at 832x480 and 1280x720 (encoder 6.0 and 13.9 GB, decoder 7.5 and
  17.4 GB) leave beside its caches, by the pixel: 9,315 to 9,466 bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from wan_trt.engine.executor import GraphSpec, TensorSpec, item_nbytes
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.manifest import SHARED, GraphEntry, Manifest
from wan_trt.engine.memory.pages import PAGE_NBYTES, pages_for
from wan_trt.engine.models import DENOISER
from wan_trt.engine.plan_entry import PlanEntry
from wan_trt.engine.request import ExpertName
from wan_trt.engine.stages.branches import branches_of
from wan_trt.engine.stages.job_layout import job_layout

TEXT_ENCODER = "text_encoder"
VAE = {
    "VAE encoding": ("vae_encoder_first", "vae_encoder_next"),
    "VAE decoding": ("vae_decoder_first", "vae_decoder_next"),
}
_VAE_SCRATCH_NBYTES_PER_PIXEL = 9_500


@dataclass(frozen=True)
class VideoSize:
    """Pixels of a frame, and frames of a segment."""

    height: int
    width: int
    frames: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.frames} frames"


@dataclass(frozen=True)
class StageBytes:
    """What a stage has while it runs: its scratch, and tensors that nobody needs afterwards."""

    scratch: int
    tensors: int
    exact: bool

    @property
    def total(self) -> int:
        return self.scratch + self.tensors


@dataclass(frozen=True)
class Footprint:
    """`experts` are the weights of what each expert runs, by weight set: one entry where both have
    the same. `shared` are the weights of the other engines but the text encoder's, `job` is the
    state of one job. `layers` are the blocks of an expert."""

    size: VideoSize
    precision: str
    experts: Mapping[str, int]
    layers: int
    shared: int
    text_encoder: int
    job: int
    denoising: StageBytes
    vae: Mapping[str, StageBytes]


def footprint(manifest: Manifest, size: VideoSize, scratch: Mapping[str, int]) -> Footprint:
    """Of a bundle at `size`; `scratch` has the bytes that plans need, by graph, as far as they
    are known."""
    graphs = manifest.graphs
    weights = {graph: weight_nbytes(entry) for graph, entry in graphs.items()}
    shared = {graph: sets[SHARED] for graph, sets in weights.items() if SHARED in sets}
    experts = expert_nbytes(manifest)
    if SHARED in experts:
        del shared[DENOISER]
    symbols = denoiser_symbols(manifest.geometry, size)
    unguided = dict.fromkeys(ExpertName, False)
    job = job_layout(manifest, branches_of(manifest.model, guided=False), symbols, unguided)
    pixels = size.height * size.width
    grid = {
        "height": size.height // manifest.geometry.space_stride,
        "width": size.width // manifest.geometry.space_stride,
    }

    def stage(names: tuple[str, ...], tensors: int, estimate: int) -> StageBytes:
        known = [scratch[name] for name in names if name in scratch]
        exact = len(known) == len(names)
        return StageBytes(paged(max(known) if exact else estimate), paged(tensors), exact)

    return Footprint(
        size=size,
        precision=manifest.precision,
        experts=experts,
        layers=manifest.geometry.layers,
        shared=sum(nbytes for graph, nbytes in shared.items() if graph != TEXT_ENCODER),
        text_encoder=shared.get(TEXT_ENCODER, 0),
        job=paged(job.nbytes),
        denoising=stage((DENOISER,), 0, _denoiser_scratch(manifest, symbols)),
        vae={
            label: stage(
                names,
                max(_interface_nbytes(graphs[name].spec, grid) for name in names),
                pixels * _VAE_SCRATCH_NBYTES_PER_PIXEL,
            )
            for label, names in VAE.items()
        },
    )


def expert_nbytes(manifest: Manifest) -> dict[str, int]:
    """Weight set -> bytes of what only its expert needs; one entry where both have the same."""
    weights = [weight_nbytes(entry) for entry in manifest.graphs.values()]
    names = sorted({name for sets in weights for name in sets} - {SHARED})
    if not names:
        return {SHARED: weight_nbytes(manifest.graphs[DENOISER])[SHARED]}
    return {name: sum(sets.get(name, 0) for sets in weights) for name in names}


def plan_scratch(manifest: Manifest, size: VideoSize, plans: Iterable[PlanEntry]) -> dict[str, int]:
    """Graph -> the most that one of `plans` for this size needs."""
    scratch: dict[str, int] = {}
    for plan in _serving(manifest, size, plans):
        scratch[plan.graph] = max(plan.scratch_nbytes, scratch.get(plan.graph, 0))
    return scratch


def planned_graphs(
    manifest: Manifest, size: VideoSize, plans: Iterable[PlanEntry]
) -> frozenset[str]:
    """The graphs that `plans` run at a size, with each of their weight sets."""
    served = {(plan.graph, plan.weight_set) for plan in _serving(manifest, size, plans)}
    return frozenset(
        graph
        for graph, entry in manifest.graphs.items()
        if entry.weights and all((graph, weights) in served for weights in entry.weights)
    )


def _serving(
    manifest: Manifest, size: VideoSize, plans: Iterable[PlanEntry]
) -> Iterator[PlanEntry]:
    stride = manifest.geometry.space_stride
    symbols = denoiser_symbols(manifest.geometry, size)
    symbols |= {"height": size.height // stride, "width": size.width // stride}
    return (plan for plan in plans if plan.serves(symbols))


def paged(nbytes: int) -> int:
    """Bytes of the pages that hold `nbytes`."""
    return pages_for(nbytes) * PAGE_NBYTES


def weight_nbytes(entry: GraphEntry) -> dict[str, int]:
    """Weight set -> bytes of its parameters."""
    return {
        name: sum(tensor.nbytes for tensor in tensors.values())
        for name, tensors in entry.weights.items()
    }


def tensor_nbytes(specs: Iterable[TensorSpec], symbols: Mapping[str, int]) -> int:
    """Bytes of all these tensors."""
    return sum(math.prod(spec.shape(symbols)) * item_nbytes(spec.dtype) for spec in specs)


def denoiser_symbols(geometry: Geometry, size: VideoSize) -> dict[str, int]:
    """What the denoiser's symbols are at a size. A model that sees faces has the reference's
    latent before the video's."""
    latents = (size.frames - 1) // geometry.time_stride + 1
    frames = latents + (geometry.face is not None)
    return {
        "frames": frames,
        "latents": frames - 1,
        "rows": size.height // geometry.pixel_multiple,
        "columns": size.width // geometry.pixel_multiple,
    }


def _interface_nbytes(spec: GraphSpec, symbols: Mapping[str, int]) -> int:
    """Inputs and outputs, so also both copies of a recurrent graph's caches."""
    return tensor_nbytes((*spec.inputs, *spec.outputs), symbols)


def _denoiser_scratch(manifest: Manifest, symbols: Mapping[str, int]) -> int:
    item = 4 if manifest.precision == "fp32" else 2
    dim = manifest.geometry.dim
    tensors = next(iter(manifest.graphs[DENOISER].weights.values()))
    hidden = max(tensors["blocks.0.ffn.0.weight"].shape)
    tokens = math.prod(symbols[name] for name in ("frames", "rows", "columns"))
    return tokens * (4 * dim + item * (3 * dim + hidden))
