"""The face blocks' norms have an epsilon of their own."""

from __future__ import annotations

from dataclasses import replace

import torch

from wan_trt.export.modeling.denoiser import FaceBlock
from wan_trt.export.modeling.dit import DitSizes
from wan_trt.export.modeling.face import FaceKeys

SIZES = DitSizes(
    dim=8,
    heads=2,
    ffn=8,
    layers=1,
    frequency_dim=4,
    text_dim=4,
    text_tokens=4,
    latent_channels=16,
    condition_channels=20,
    eps=1e-6,
)


def test_the_epsilon_of_config_json_is_not_the_face_blocks() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = 1e-2 * torch.randn(1, 5, SIZES.dim, generator=generator)
    outputs = []
    for sizes in (SIZES, replace(SIZES, eps=1e-1)):
        keys, block = FaceKeys(sizes), FaceBlock(sizes)
        weights = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in (*keys.parameters(), *block.parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=weights))
            key, value = keys(tokens)
            outputs.append((key, value, block(tokens, key, value)))
    for here, there in zip(*outputs, strict=True):
        assert torch.equal(here, there)
