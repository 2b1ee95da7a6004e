"""Made-up checkpoints have the official names and shapes, and weights that behave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wan_trt.engine.prompts import PromptTokenizer
from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.modeling.animate import AnimateSizes
from wan_trt.export.synthetic.checkpoint import write_checkpoint
from wan_trt.export.synthetic.dit_shapes import Shape, dit_shapes, image_to_video_shapes
from wan_trt.export.synthetic.encoder_shapes import clip_shapes, t5_shapes, vae_shapes
from wan_trt.export.synthetic.sizes import ANIMATE_14B, TINY, CheckpointSizes
from wan_trt.export.tensors import TensorSource


@pytest.mark.parametrize(
    ("shapes", "listing"),
    [
        (dit_shapes, "dit_animate14b_original"),
        (image_to_video_shapes, "dit_i2v_a14b_original"),
        (vae_shapes, "vae_wan21"),
        (clip_shapes, "clip_visual"),
        (t5_shapes, "umt5_xxl_encoder"),
    ],
)
def test_real_sizes_give_the_real_names_and_shapes(
    shared: Path, shapes: Callable[[CheckpointSizes], dict[str, Shape]], listing: str
) -> None:
    official = json.loads((shared / "facts" / "names" / f"{listing}.json").read_text())
    made = {name: list(shape) for name, shape in shapes(ANIMATE_14B).items()}
    assert made == official


def test_sizes_are_read_back(tiny_checkpoint: Path) -> None:
    dit = Checkpoint.open(tiny_checkpoint).experts[ExpertName.HIGH]
    read = AnimateSizes.read(dit.tensors, dit.config, TINY.image_tokens)
    for name in ("dim", "heads", "ffn", "layers", "text_dim"):
        assert getattr(read.dit, name) == getattr(TINY, name)
    assert (read.face.size, read.face.motion_channels) == (TINY.face_size, TINY.motion_channels)


def test_a_seed_gives_the_same_weights_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    def dit(folder: Path) -> TensorSource:
        return Checkpoint.open(folder).experts[ExpertName.HIGH].tensors

    again = dit(write_checkpoint(tmp_path / "again", TINY, shards=1))
    first = dit(tiny_checkpoint)
    other = dit(write_checkpoint(tmp_path / "other", TINY, seed=1))
    name = "blocks.1.ffn.0.weight"
    assert torch.equal(first.read(name), again.read(name))
    assert not torch.equal(first.read(name), other.read(name))


@pytest.mark.parametrize("text", ["", "a person", "视频中的人在做动作", "\N{GRINNING FACE} ﬁ Ω\n"])
def test_the_tokenizer_accepts_any_text(tiny_checkpoint: Path, text: str) -> None:
    tokenizer = PromptTokenizer(tiny_checkpoint / "google" / "umt5-xxl" / "tokenizer.json", 32)
    ids = tokenizer.token_ids(text)
    assert ids[-1] == 1
    assert 0 not in ids
    assert ids.max() < TINY.text_vocabulary
