"""The graphs of an Animate bundle: which modules there are and where their weights come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from torch._subclasses.fake_tensor import FakeTensorMode

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.geometry import Geometry
from wan_trt.export.checkpoint import OfficialCheckpoint
from wan_trt.export.modeling import clip, umt5, vae
from wan_trt.export.modeling.animate import AnimateSizes
from wan_trt.export.modeling.contexts import ImageContext, SegmentContext, TextContext
from wan_trt.export.modeling.denoiser import Denoiser
from wan_trt.export.modeling.face import FaceContext, MotionEncoder
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.tensors import TensorSource


@dataclass(frozen=True)
class GraphPlan:
    """A graph to export and the tensors its weights are made of."""

    name: str
    module: ExportModule
    source: TensorSource


@dataclass(frozen=True)
class BundlePlan:
    """`shared` graphs have one weight set; `expert` graphs may have one for each expert."""

    geometry: Geometry
    shared: tuple[GraphPlan, ...]
    expert: tuple[GraphPlan, ...]

    def with_source(self, source: TensorSource) -> tuple[GraphPlan, ...]:
        """The expert graphs, fed from `source`: the DiT with LoRAs folded in."""
        return tuple(replace(graph, source=source) for graph in self.expert)


def plan(checkpoint: OfficialCheckpoint) -> BundlePlan:
    """Build all modules (without memory for their weights) and check that every tensor of the
    checkpoint is used. Raises CheckpointError naming tensors that are missing or left over."""
    image = clip.ImageEncoderSizes.read(checkpoint.clip)
    sizes = AnimateSizes.read(checkpoint.dit, checkpoint.config, image.tokens)
    text = umt5.TextEncoderSizes.read(checkpoint.t5)
    video = vae.VaeSizes.read(checkpoint.vae)
    with FakeTensorMode(allow_non_fake_inputs=True):
        shared = (
            GraphPlan("text_encoder", umt5.TextEncoder(text), checkpoint.t5),
            GraphPlan("image_encoder", clip.ImageEncoder(image), checkpoint.clip),
            *(
                GraphPlan(name, module, checkpoint.vae)
                for name, module in (
                    ("vae_encoder_first", vae.VaeEncoder(video, first=True)),
                    ("vae_encoder_next", vae.VaeEncoder(video, first=False)),
                    ("vae_decoder_first", vae.VaeDecoder(video, first=True)),
                    ("vae_decoder_next", vae.VaeDecoder(video, first=False)),
                )
            ),
            GraphPlan("motion_encoder", MotionEncoder(sizes), checkpoint.dit),
        )
        expert = tuple(
            GraphPlan(name, kind(sizes), checkpoint.dit) for name, kind in _EXPERT_GRAPHS.items()
        )
    for label, source, unused in (
        ("the DiT", checkpoint.dit, _unused_dit),
        ("the VAE", checkpoint.vae, vae.unused),
        ("CLIP", checkpoint.clip, clip.unused),
        ("UMT5", checkpoint.t5, umt5.unused),
    ):
        users = [graph.module for graph in (*shared, *expert) if graph.source is source]
        _check_all_used(label, source, users, unused)
    return BundlePlan(_geometry(sizes, image), shared, expert)


_EXPERT_GRAPHS: dict[str, Callable[[AnimateSizes], ExportModule]] = {
    "text_context": TextContext,
    "image_context": ImageContext,
    "face_context": FaceContext,
    "segment_context": SegmentContext,
    "denoiser": Denoiser,
}


def _unused_dit(names: Iterable[str]) -> set[str]:
    """Nothing of the DiT is left out."""
    del names
    return set()


def _check_all_used(
    label: str,
    source: TensorSource,
    modules: Iterable[ExportModule],
    unused: Callable[[Iterable[str]], set[str]],
) -> None:
    names = set(source.names())
    wanted = {name for m in modules for rule in m.rules().values() for name in rule.sources}
    if missing := sorted(wanted - names):
        raise CheckpointError(
            f"{label} lacks {_shown(missing)}",
            expected="a complete Wan2.2-Animate checkpoint with original names",
            action="complete the download",
        )
    if left := sorted(names - wanted - unused(names)):
        raise CheckpointError(
            f"{label} has tensors that nothing uses: {_shown(left)}",
            expected="the tensors of Wan2.2-Animate only",
            action="check that the files belong to this model",
        )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _geometry(sizes: AnimateSizes, image: clip.ImageEncoderSizes) -> Geometry:
    return Geometry(
        dim=sizes.dim,
        heads=sizes.heads,
        layers=sizes.layers,
        face_layers=sizes.face_layers,
        text_dim=sizes.text_dim,
        text_tokens=sizes.text_tokens,
        image_dim=sizes.image_dim,
        image_tokens=sizes.image_tokens,
        image_size=image.image_size,
        face_size=sizes.face_size,
        motion_dim=sizes.motion_dim,
        latent_channels=sizes.latent_channels,
    )
