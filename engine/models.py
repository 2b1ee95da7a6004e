"""The models that a bundle can hold, and the graphs without which each cannot run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

DENOISER = "denoiser"


class ModelName(StrEnum):
    """As the manifest spells it."""

    ANIMATE = "wan2.2-animate"
    IMAGE_TO_VIDEO = "wan2.2-i2v-a14b"

    @property
    def label(self) -> str:
        """As people say it."""
        return {ModelName.ANIMATE: "Animate", ModelName.IMAGE_TO_VIDEO: "I2V-A14B"}[self]


_EVERY_MODEL = (
    "vae_encoder_first",
    "vae_encoder_next",
    "vae_decoder_first",
    "vae_decoder_next",
    "text_context",
    "segment_context",
    DENOISER,
)

CODING_GRAPHS = frozenset(
    {
        "text_encoder",
        "image_encoder",
        "motion_encoder",
        "vae_encoder_first",
        "vae_encoder_next",
        "vae_decoder_first",
        "vae_decoder_next",
    }
)
"""What conditioning and decoding run. All others belong to denoising: they are run when an expert
first needs them."""

RUN_ONCE = frozenset({"text_encoder", "image_encoder"})
"""Needed once a job at most, and closed after each use."""

# The text encoder is not among them: the model's own prompts lie in the bundle as text rows.
REQUIRED_GRAPHS: Mapping[ModelName, tuple[str, ...]] = {
    ModelName.ANIMATE: (
        *_EVERY_MODEL,
        "image_encoder",
        "image_context",
        "motion_encoder",
        "face_context",
    ),
    ModelName.IMAGE_TO_VIDEO: _EVERY_MODEL,
}
