"""The models' own prompts: most jobs use them and never need the text encoder."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors.numpy import save

from wan_trt.engine.models import ModelName
from wan_trt.engine.prompts import PromptTokenizer
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.precision import Precision, stored_dtypes
from wan_trt.export.streamed import streamed
from wan_trt.export.tensors import TensorSource

_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，"
    "低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，"
    "毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)

# Upstream has one prompt for Animate, none for image-to-video, and one negative prompt for all.
PROMPTS: Mapping[ModelName, Mapping[str, str]] = {
    ModelName.ANIMATE: {"positive": "视频中的人在做动作", "negative": _NEGATIVE},
    ModelName.IMAGE_TO_VIDEO: {"positive": "", "negative": _NEGATIVE},
}


def encode_prompts(
    prompts: Mapping[str, str],
    tokenizer: PromptTokenizer,
    encoder: ExportModule,
    source: TensorSource,
    precision: Precision,
) -> bytes:
    """The text rows of the prompts by their names, float32 [tokens, text_dim], as safetensors; as
    the bundle's text encoder gives them, whose weights are not held."""
    rows = {}
    with streamed(encoder, source, stored_dtypes(encoder, precision)):
        for name, prompt in prompts.items():
            rows[name] = encoder(torch.from_numpy(tokenizer.token_ids(prompt))).numpy()
    return save(rows)
