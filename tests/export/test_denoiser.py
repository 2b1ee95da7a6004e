"""The DiT, cut into contexts and denoiser, against the official forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from exported import export_module, run_exported
from safetensors.torch import load_file

from wan_trt.engine.request import ExpertName
from wan_trt.engine.rope import rope_tables
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.checkpoint import Dit as OpenedDit
from wan_trt.export.modeling.animate import AnimateSizes
from wan_trt.export.modeling.contexts import ImageContext, PosedSegmentContext, TextContext
from wan_trt.export.modeling.denoiser import Denoiser, patches, sinusoids, unpatch
from wan_trt.export.modeling.dit import DitSizes
from wan_trt.export.modeling.face import FaceContext, MotionEncoder
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.tensors import TensorSource

Run = Callable[..., tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Dit:
    """The six graphs as functions of (sizes, tensors)."""

    sizes: DitSizes
    motion_encoder: Run
    face_context: Run
    text_context: Run
    image_context: Run
    segment_context: Run
    denoiser: Run


@pytest.fixture(scope="module")
def opened(golden: Path) -> OpenedDit:
    return Checkpoint.open(golden / "checkpoint").experts[ExpertName.HIGH]


def _eager(module: ExportModule, source: TensorSource) -> Run:
    module.load(source)

    def call(_sizes: dict[str, int], *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        result = module(*inputs)
        return result if isinstance(result, tuple) else (result,)

    return call


@pytest.fixture(scope="module", params=["eager", "exported"])
def dit(
    request: pytest.FixtureRequest,
    opened: OpenedDit,
    tmp_path_factory: pytest.TempPathFactory,
) -> Dit:
    sizes = AnimateSizes.read(opened.tensors, opened.config, image_tokens=257)

    def make(module: ExportModule) -> Run:
        if request.param == "eager":
            return _eager(module, opened.tensors)
        executor = export_module(module, opened.tensors, tmp_path_factory.mktemp("module"))
        return lambda symbols, *inputs: run_exported(executor, symbols, *inputs)

    trunk, image, face = sizes.dit, sizes.image, sizes.face
    return Dit(
        trunk,
        motion_encoder=make(MotionEncoder(face)),
        face_context=make(FaceContext(trunk, face)),
        text_context=make(TextContext(trunk)),
        image_context=make(ImageContext(trunk, image)),
        segment_context=make(PosedSegmentContext(trunk)),
        denoiser=make(Denoiser(trunk, image, face)),
    )


@pytest.fixture(scope="module")
def faces(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "modules" / "motion_encoder.safetensors")


def _pixels(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 [T,H,W,3] -> [T,3,H,W] in [-1,1], rounded to bf16 as upstream rounds its inputs."""
    return (pictures.float() / 127.5 - 1).bfloat16().float().permute(0, 3, 1, 2)


def test_motion_of_faces(dit: Dit, faces: dict[str, torch.Tensor]) -> None:
    pictures = _pixels(faces["face_u8"])
    (motion,) = dit.motion_encoder({"batch": len(pictures)}, pictures)
    torch.testing.assert_close(motion, faces["motion"], atol=1e-4, rtol=0)
    black = torch.full_like(pictures[:1], -1.0)
    (motion,) = dit.motion_encoder({"batch": 1}, black)
    torch.testing.assert_close(motion, faces["motion_black_face"], atol=1e-4, rtol=0)


def test_face_tokens_for_every_length(opened: OpenedDit, golden: Path) -> None:
    expected = load_file(golden / "modules" / "face_encoder.safetensors")
    sizes = AnimateSizes.read(opened.tensors, opened.config, 257)
    module = FaceContext(sizes.dit, sizes.face)
    module.load(opened.tensors)
    lengths = [name.removesuffix(".motion") for name in expected if name.endswith(".motion")]
    assert len(lengths) >= 3
    for length in lengths:
        tokens = module.face_tokens(expected[f"{length}.motion"][0])
        torch.testing.assert_close(tokens, expected[f"{length}.tokens"][0], atol=1e-4, rtol=0)


def test_text_and_image_embeddings(opened: OpenedDit, golden: Path) -> None:
    expected = load_file(golden / "modules" / "embeddings.safetensors")
    clip = load_file(golden / "modules" / "clip.safetensors")
    sizes = AnimateSizes.read(opened.tensors, opened.config, 257)
    text, image = TextContext(sizes.dit), ImageContext(sizes.dit, sizes.image)
    text.load(opened.tensors)
    image.load(opened.tensors)
    features = clip["img0.features"].reshape(sizes.image.tokens, -1)
    torch.testing.assert_close(
        image.embed(features), expected["img.out"].reshape(257, -1), atol=1e-4, rtol=0
    )
    rows = expected["text.rows"].reshape(-1, sizes.dit.text_dim)
    torch.testing.assert_close(
        text.embed(rows), expected["text.out_rows"].reshape(len(rows), -1), atol=1e-4, rtol=0
    )
    padding = text.embed(torch.zeros(1, sizes.dit.text_dim))
    torch.testing.assert_close(
        padding.flatten(), expected["text.out_padding_row"].flatten(), atol=1e-4, rtol=0
    )


def test_time_embedding(golden: Path) -> None:
    expected = load_file(golden / "modules" / "embeddings.safetensors")
    sinusoid = expected["time.sinusoid"]
    table = sinusoids(sinusoid.shape[-1])
    found = table[expected["time.t"].flatten().long()]
    torch.testing.assert_close(found, sinusoid.reshape(found.shape), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", ["a", "b"])
def test_velocity_equals_the_official_forward_pass(dit: Dit, golden: Path, case: str) -> None:
    tensors = load_file(golden / "modules" / "dit.safetensors")
    given = {
        name.removeprefix(f"{case}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{case}.")
    }
    pictures = _pixels(given["face_u8"])
    latents = given["x"]
    frames, rows, columns = latents.shape[1], latents.shape[2] // 2, latents.shape[3] // 2
    grid = {"rows": rows, "columns": columns}

    (motion,) = dit.motion_encoder({"batch": len(pictures)}, pictures)
    face = dit.face_context({"latents": frames - 1}, motion)
    padded = torch.zeros(dit.sizes.text_tokens, dit.sizes.text_dim)
    padded[: len(given["context"])] = given["context"]
    text = dit.text_context({}, padded)
    image = dit.image_context({}, given["clip_fea"][0])
    (tokens,) = dit.segment_context(
        {"latents": frames - 1, **grid}, given["y"], given["pose_latents"][0]
    )
    rope = [torch.from_numpy(t) for t in rope_tables(frames, rows, columns, dit.sizes.head_dim)]
    timesteps = [int(name[1:-2]) for name in given if name.startswith("t") and name[-2:] == ".v"]
    assert len(timesteps) >= 2
    for timestep in timesteps:
        (velocity,) = dit.denoiser(
            {"frames": frames, **grid},
            latents,
            torch.tensor([timestep]),
            tokens,
            *rope,
            *text,
            *image,
            *face,
        )
        torch.testing.assert_close(velocity, given[f"t{timestep}.v"], atol=2e-4, rtol=0)


def test_patches_and_unpatch_are_the_official_orders(golden: Path) -> None:
    expected = load_file(golden / "modules" / "head.safetensors")
    latents = expected["unpatchified"].squeeze(0)
    channels, frames, height, width = latents.shape
    tokens = expected["tokens"].reshape(frames, height // 2, width // 2, 4 * channels)
    assert torch.equal(unpatch(tokens), latents)
    kernel = torch.randn(5, channels, 1, 2, 2)
    convolved = torch.nn.functional.conv3d(latents[None], kernel, stride=(1, 2, 2))[0]
    by_matrix = patches(latents) @ kernel.reshape(5, -1).t()
    torch.testing.assert_close(by_matrix.permute(3, 0, 1, 2), convolved, atol=1e-4, rtol=1e-4)
