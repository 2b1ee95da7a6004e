"""The structured weights of the demonstration do what they say, run as torch modules."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from wan_trt.engine.rope import rope_tables
from wan_trt.export.modeling.animate import AnimateSizes
from wan_trt.export.modeling.contexts import ImageContext, PosedSegmentContext, TextContext
from wan_trt.export.modeling.denoiser import Denoiser
from wan_trt.export.modeling.face import FaceContext
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.modeling.vae import VaeDecoder, VaeEncoder, VaeSizes
from wan_trt.export.synthetic import values
from wan_trt.export.synthetic.checkpoint import config
from wan_trt.export.synthetic.dit_shapes import dit_shapes
from wan_trt.export.synthetic.encoder_shapes import vae_shapes
from wan_trt.export.synthetic.sizes import DEMO, TINY
from wan_trt.export.synthetic.structured_dit import structured_dit
from wan_trt.export.synthetic.structured_vae import COLOUR_SCALE, structured_vae
from wan_trt.export.tensors import MemoryTensors


@pytest.fixture(scope="module")
def vae() -> MemoryTensors:
    random = {
        name: values.random_tensor(name, shape, values.VAE, 0)
        for name, shape in vae_shapes(DEMO).items()
    }
    return MemoryTensors(random | structured_vae(DEMO))


def _picture(height: int, width: int) -> torch.Tensor:
    """A smooth picture, [3, 1, height, width] in [-1, 1]."""
    small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    large = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    return large.transpose(0, 1)


def test_the_vae_keeps_colours(vae: MemoryTensors) -> None:
    sizes = VaeSizes.read(vae)
    modules: list[ExportModule] = []
    for kind in (VaeEncoder, VaeDecoder):
        for first in (True, False):
            modules.append(kind(sizes, first=first))
            modules[-1].load(vae)
    encode_first, encode_next, decode_first, decode_next = modules
    picture = _picture(64, 96)
    latents, *caches = encode_first(picture)
    later, *_ = encode_next(picture.expand(-1, 4, -1, -1), *caches)
    blocks = torch.nn.functional.avg_pool2d(picture[:, 0], 8) * COLOUR_SCALE
    expected = blocks[torch.arange(16) % 3].unsqueeze(1)
    torch.testing.assert_close(latents, expected, atol=0.03, rtol=0.03)
    torch.testing.assert_close(later, latents, atol=1e-4, rtol=0)
    frame, *caches = decode_first(latents)
    frames, *_ = decode_next(later, *caches)
    assert (frame - picture).abs().mean() < 0.06
    torch.testing.assert_close(frames, frame.expand(-1, 4, -1, -1), atol=1e-4, rtol=0)


def test_the_dit_points_at_the_reference_under_the_skeleton() -> None:
    random = {
        name: values.random_tensor(name, shape, values.DIT, 0)
        for name, shape in dit_shapes(DEMO).items()
    }
    source = MemoryTensors(random | structured_dit(DEMO))
    sizes = AnimateSizes.read(source, config(DEMO), DEMO.image_tokens)
    trunk = sizes.dit
    text, image = TextContext(trunk), ImageContext(trunk, sizes.image)
    face, segment = FaceContext(trunk, sizes.face), PosedSegmentContext(trunk)
    denoiser = Denoiser(trunk, sizes.image, sizes.face)
    for module in (text, image, face, segment, denoiser):
        module.load(source)

    random_numbers = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random_numbers)

    rows, columns, latents = 5, 6, 3
    plane = (2 * rows, 2 * columns)
    reference = normal(16, 1, *plane)
    condition = torch.zeros(20, latents + 1, *plane)
    condition[:4, :1], condition[4:, :1] = 1, reference
    black = torch.full((16, latents, *plane), -COLOUR_SCALE)
    noise = normal(16, latents + 1, *plane)
    velocity = denoiser(
        noise,
        torch.tensor([900]),
        segment(condition, black),
        *(torch.from_numpy(t) for t in rope_tables(latents + 1, rows, columns, trunk.head_dim)),
        *text(normal(trunk.text_tokens, trunk.text_dim)),
        *image(normal(sizes.image.tokens, sizes.image.dim)),
        *face(normal(4 * latents - 3, sizes.face.motion_dim)),
    )
    wanted = (noise - reference)[:, 1:]
    found = velocity[:, 1:]
    correlation = torch.corrcoef(torch.stack([wanted.flatten(), found.flatten()]))[0, 1]
    assert correlation > 0.97
    assert 1.0 < (found.std() / wanted.std()) < 2.0


def test_sizes_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        structured_dit(TINY)
    with pytest.raises(ValueError, match="no room"):
        structured_vae(replace(TINY, vae_dim=4))
