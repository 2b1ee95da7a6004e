"""How much arithmetic each stage is, in the benchmark's case and in the real model.

Counted on diffusers' modules without memory for their tensors, as diffusers runs them: the two face
encoders and the keys and values of text and image in every step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from e2e.case import HEAD_DIM, Case
from e2e.measurement import Stage
from wan_trt.export.synthetic.sizes import ANIMATE_14B, CheckpointSizes

REAL = Case(dim=5120, layers=40, vae_dim=96, face_pixels=512, height=480, width=832)
TEXT_TOKENS = 512


def shares(case: Case, sizes: CheckpointSizes) -> dict[str, float]:
    """{stage: share of all operations}, the small encoders of text and image left out."""
    counts = _operations(case, sizes)
    return {stage.value: count / sum(counts.values()) for stage, count in counts.items()}


def real_shares() -> dict[str, float]:
    """The same for Wan2.2-Animate-14B, 77 frames of 832x480 in 20 steps."""
    return shares(REAL, ANIMATE_14B)


def _operations(case: Case, sizes: CheckpointSizes) -> dict[Stage, int]:
    channels, frames, height, width = case.latent_shape
    face = {str(sizes.face_size >> i): n for i, n in enumerate(sizes.motion_channels)}
    with torch.device("meta"), torch.inference_mode():
        vae = AutoencoderKLWan(base_dim=sizes.vae_dim)
        transformer = WanAnimateTransformer3DModel(
            num_attention_heads=sizes.dim // HEAD_DIM,
            text_dim=sizes.text_dim,
            ffn_dim=sizes.ffn,
            num_layers=sizes.layers,
            image_dim=sizes.image_width,
            added_kv_proj_dim=sizes.dim,
            motion_encoder_channel_sizes=face,
            motion_encoder_size=sizes.face_size,
            motion_style_dim=sizes.motion_dim,
            motion_dim=sizes.motion_code,
            motion_encoder_dim=sizes.motion_dim,
            face_encoder_hidden_dim=sizes.face_hidden,
        )
        clip = torch.empty(1, 3, case.frames, case.height, case.width)
        video = torch.empty(1, channels, frames - 1, height, width)
        faces = torch.empty(1, 3, case.frames, sizes.face_size, sizes.face_size)
        one_face = torch.empty(1, 3, sizes.face_size, sizes.face_size)
        step = (
            torch.empty(1, 36, frames, height, width),
            torch.empty(1),
            torch.empty(1, TEXT_TOKENS, sizes.text_dim),
            torch.empty(1, sizes.image_tokens, sizes.image_width),
            video,
            faces,
        )
        motion = case.frames * _count(lambda: transformer.motion_encoder(one_face))
        return {
            # pose, grey video and reference
            Stage.VAE_ENCODE: 2 * _count(lambda: vae.encode(clip))
            + _count(lambda: vae.encode(clip[:, :, :1])),
            Stage.FACE: case.steps * motion,
            Stage.DENOISE: case.steps * (_count(lambda: transformer(*step)) - motion),
            Stage.VAE_DECODE: _count(lambda: vae.decode(video)),
        }


def _count(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())
