"""Made-up checkpoints have the official names and shapes, and weights that behave."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wan_trt.engine.prompts import PromptTokenizer
from wan_trt.export.checkpoint import OfficialCheckpoint
from wan_trt.export.modeling.animate import AnimateSizes
from wan_trt.export.synthetic.checkpoint import write_checkpoint
from wan_trt.export.synthetic.dit_shapes import Shape, dit_shapes
from wan_trt.export.synthetic.encoder_shapes import clip_shapes, t5_shapes, vae_shapes
from wan_trt.export.synthetic.sizes import ANIMATE_14B, TINY, CheckpointSizes


@pytest.mark.parametrize(
    ("shapes", "listing"),
    [
        (dit_shapes, "dit_animate14b_original"),
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
    opened = OfficialCheckpoint.open(tiny_checkpoint)
    read = AnimateSizes.read(opened.dit, opened.config, TINY.image_tokens)
    for name in ("dim", "heads", "ffn", "layers", "text_dim", "face_size", "motion_channels"):
        assert getattr(read, name) == getattr(TINY, name)


def test_a_seed_gives_the_same_weights_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    again = OfficialCheckpoint.open(write_checkpoint(tmp_path / "again", TINY, shards=1)).dit
    first = OfficialCheckpoint.open(tiny_checkpoint).dit
    other = OfficialCheckpoint.open(write_checkpoint(tmp_path / "other", TINY, seed=1)).dit
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
