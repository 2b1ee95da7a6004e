"""Which model a DiT belongs to: told by its tensors' names and shapes, in either spelling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.models import ModelName
from wan_trt.export.layouts.headers import Header

LATENT_CHANNELS = 16
IN_CHANNELS = 36  # noise, mask and condition


# Tensors that only other models of the family have.
_FOREIGN = (
    (r"vace_(blocks|patch_embedding)\..+", "VACE"),
    (
        r"(casual_audio_encoder|audio_(injector|proj|model)|condition_embedder\.causal_audio_encoder)\..+",
        "S2V (speech to video)",
    ),
    (r"(ref_conv|control_adapter|add_conv_in)\..+", "Fun-Control"),
    (
        r"img_emb\.emb_pos|condition_embedder\.image_embedder\.pos_embed",
        "Wan2.1 FLF2V (first and last frame)",
    ),
)
_IMAGE_EMBEDDING = r"(img_emb|condition_embedder\.image_embedder)\..+"
_ANIMATE = r"(pose_patch_embedding|motion_encoder|face_encoder|face_adapter)\..+"


def model_of(headers: Mapping[str, Header], where: str) -> ModelName:
    """Raises CheckpointError for the DiT of another model, which it names where it can, and for
    one that lacks the tensors by which it would be known."""
    has = {
        pattern: any(re.fullmatch(pattern, name) for name in headers)
        for pattern in (*(p for p, _ in _FOREIGN), _IMAGE_EMBEDDING, _ANIMATE)
    }
    for pattern, title in _FOREIGN:
        if has[pattern]:
            raise _foreign(where, title)
    patch = headers.get("patch_embedding.weight")
    head = headers.get("head.head.weight", headers.get("proj_out.weight"))
    if patch is None or head is None or len(patch.shape) != 5:
        raise CheckpointError(
            f"{where} has a DiT's blocks without its patch embedding or its head",
            expected="a complete DiT",
            action="complete the download; point to all shards, not to one of them",
        )
    dim, inputs, *kernel = patch.shape
    latents = head.shape[0] // prod(kernel)
    if latents == 48 or dim == 3072:
        raise _foreign(where, "TI2V-5B")
    if has[_ANIMATE] and inputs == IN_CHANNELS:
        return ModelName.ANIMATE
    if inputs == LATENT_CHANNELS:
        raise _foreign(where, f"T2V (text to video; its patch embedding has {inputs} channels)")
    if inputs == IN_CHANNELS and has[_IMAGE_EMBEDDING]:
        raise _foreign(where, "Wan2.1 I2V (one expert, with image embedding)")
    if inputs != IN_CHANNELS or latents != LATENT_CHANNELS:
        raise _foreign(where, f"another kind (patch embedding of {inputs} channels)")
    return ModelName.IMAGE_TO_VIDEO


def _foreign(where: str, title: str) -> CheckpointError:
    return CheckpointError(
        f"{where} is a DiT of {title}",
        expected="Wan2.2-Animate-14B or Wan2.2-I2V-A14B",
        action="use the weights of one of these",
    )
