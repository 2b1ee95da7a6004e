"""The graphs of a bundle: which modules there are and where their weights come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch._subclasses.fake_tensor import FakeTensorMode

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.geometry import FaceGeometry, Geometry, ImageGeometry
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.modeling import clip, umt5, vae
from wan_trt.export.modeling.animate import AnimateSizes
from wan_trt.export.modeling.contexts import (
    ImageContext,
    PosedSegmentContext,
    SegmentContext,
    TextContext,
)
from wan_trt.export.modeling.denoiser import Denoiser
from wan_trt.export.modeling.dit import DitSizes
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
    """`shared` graphs have one weight set; `expert` graphs, by name, are fed from the DiT of each
    expert."""

    geometry: Geometry
    shared: tuple[GraphPlan, ...]
    expert: Mapping[str, ExportModule]

    @property
    def modules(self) -> dict[str, ExportModule]:
        """Of all graphs, by name."""
        return {graph.name: graph.module for graph in self.shared} | dict(self.expert)

    @property
    def expert_tensors(self) -> frozenset[str]:
        """What an expert's graphs read of its DiT. The motion encoder is not among it: it is of
        the DiT, but runs once for both experts."""
        rules = (rule for module in self.expert.values() for rule in module.rules().values())
        return frozenset(name for rule in rules for name in rule.sources)


def plan(checkpoint: Checkpoint) -> BundlePlan:
    """Build all modules (without memory for their weights) and check that every tensor of the
    checkpoint is used. Raises CheckpointError naming tensors that are missing or left over."""
    match checkpoint.model:
        case ModelName.ANIMATE:
            contents = _plan_animate(checkpoint)
        case ModelName.IMAGE_TO_VIDEO:
            contents = _plan_image_to_video(checkpoint)
    for label, source, unused in _sources(checkpoint):
        users = [graph.module for graph in contents.shared if graph.source is source]
        if any(source is dit.tensors for dit in checkpoint.experts.values()):
            users += contents.expert.values()
        _check_all_used(label, source, users, unused)
    return contents


def _plan_animate(checkpoint: Checkpoint) -> BundlePlan:
    dit, pictures = checkpoint.experts[ExpertName.HIGH], checkpoint.clip
    if pictures is None:
        raise CheckpointError("there is no CLIP", expected="the image encoder of Animate")
    encoder = clip.ImageEncoderSizes.read(pictures)
    sizes = AnimateSizes.read(dit.tensors, dit.config, encoder.tokens)
    trunk, image, face = sizes.dit, sizes.image, sizes.face
    with FakeTensorMode(allow_non_fake_inputs=True):
        shared = (
            *_shared_by_all(checkpoint),
            GraphPlan("image_encoder", clip.ImageEncoder(encoder), pictures),
            GraphPlan("motion_encoder", MotionEncoder(face), dit.tensors),
        )
        expert: dict[str, ExportModule] = {
            "text_context": TextContext(trunk),
            "image_context": ImageContext(trunk, image),
            "face_context": FaceContext(trunk, face),
            "segment_context": PosedSegmentContext(trunk),
            "denoiser": Denoiser(trunk, image, face),
        }
    geometry = _geometry(
        trunk,
        image=ImageGeometry(image.dim, image.tokens, encoder.image_size),
        face=FaceGeometry(face.layers, face.size, face.motion_dim),
    )
    return BundlePlan(geometry, shared, expert)


def _plan_image_to_video(checkpoint: Checkpoint) -> BundlePlan:
    high, low = (
        DitSizes.read(dit.tensors, dit.config)
        for dit in (checkpoint.experts[expert] for expert in (ExpertName.HIGH, ExpertName.LOW))
    )
    if high != low:
        raise CheckpointError(
            f"the experts differ in size: {high} and {low}",
            expected="two experts of one model",
            action="check that high_noise_model and low_noise_model belong together",
        )
    with FakeTensorMode(allow_non_fake_inputs=True):
        shared = _shared_by_all(checkpoint)
        expert: dict[str, ExportModule] = {
            "text_context": TextContext(high),
            "segment_context": SegmentContext(high),
            "denoiser": Denoiser(high),
        }
    return BundlePlan(_geometry(high), shared, expert)


def _shared_by_all(checkpoint: Checkpoint) -> tuple[GraphPlan, ...]:
    """The text encoder and the VAE, which every model has."""
    text = umt5.TextEncoderSizes.read(checkpoint.t5)
    video = vae.VaeSizes.read(checkpoint.vae)
    return (
        GraphPlan("text_encoder", umt5.TextEncoder(text), checkpoint.t5),
        *(
            GraphPlan(name, module, checkpoint.vae)
            for name, module in (
                ("vae_encoder_first", vae.VaeEncoder(video, first=True)),
                ("vae_encoder_next", vae.VaeEncoder(video, first=False)),
                ("vae_decoder_first", vae.VaeDecoder(video, first=True)),
                ("vae_decoder_next", vae.VaeDecoder(video, first=False)),
            )
        ),
    )


Unused = Callable[[Iterable[str]], set[str]]


def _sources(checkpoint: Checkpoint) -> Iterable[tuple[str, TensorSource, Unused]]:
    """Every tensor source once: what it is called, and which of its tensors may be left out."""
    high, low = checkpoint.experts[ExpertName.HIGH], checkpoint.experts[ExpertName.LOW]
    if high is low:
        yield "the DiT", high.tensors, _nothing
    else:
        yield "the high-noise DiT", high.tensors, _nothing
        yield "the low-noise DiT", low.tensors, _nothing
    yield "the VAE", checkpoint.vae, vae.unused
    if checkpoint.clip is not None:
        yield "CLIP", checkpoint.clip, clip.unused
    yield "UMT5", checkpoint.t5, umt5.unused


def _nothing(names: Iterable[str]) -> set[str]:
    del names
    return set()


def _check_all_used(
    label: str, source: TensorSource, modules: Iterable[ExportModule], unused: Unused
) -> None:
    names = set(source.names())
    wanted = {name for m in modules for rule in m.rules().values() for name in rule.sources}
    if missing := sorted(wanted - names):
        raise CheckpointError(
            f"{label} lacks {_shown(missing)}",
            expected="a complete checkpoint with original names",
            action="complete the download",
        )
    if left := sorted(names - wanted - unused(names)):
        raise CheckpointError(
            f"{label} has tensors that nothing uses: {_shown(left)}",
            expected="the tensors of the model only",
            action="check that the files belong to this model",
        )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _geometry(
    sizes: DitSizes, image: ImageGeometry | None = None, face: FaceGeometry | None = None
) -> Geometry:
    return Geometry(
        dim=sizes.dim,
        heads=sizes.heads,
        layers=sizes.layers,
        text_dim=sizes.text_dim,
        text_tokens=sizes.text_tokens,
        image=image,
        face=face,
        latent_channels=sizes.latent_channels,
    )
