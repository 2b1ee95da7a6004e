"""Fixtures of the engine's tests: jobs on the toy bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from toy_bundle import write_toy_bundle
from toy_jobs import MakeBundle, MakeRequest

from wan_trt.engine import Bundle, Engine
from wan_trt.engine.frames import ArrayFrames
from wan_trt.engine.request import AnimateRequest, Sampling


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """make_bundle(high=0.5, low=0.25): one gain for both experts gives one weight set."""

    def make(high: float = 0.5, low: float = 0.5, boundary: float = 0.9) -> Bundle:
        return write_toy_bundle(tmp_path / "bundle", high, low, boundary)

    return make


@pytest.fixture
def engine(make_bundle: MakeBundle) -> Iterator[Engine]:
    with Engine(make_bundle(), threads=1) as engine:
        yield engine


@pytest.fixture
def make_request() -> MakeRequest:
    """make_request(frames=9, **fields): random media of 32x16 pixels, segments of 5 frames."""

    def make(frames: int = 9, **fields: object) -> AnimateRequest:
        generator = np.random.default_rng(0)

        def video(height: int, width: int) -> ArrayFrames:
            return ArrayFrames(
                generator.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
            )

        defaults: dict[str, object] = {
            "reference": generator.integers(0, 256, (20, 30, 3), dtype=np.uint8),
            "pose": video(16, 32),
            "face": video(8, 8),
            "segment_frames": 5,
            "sampling": Sampling(steps=3),
        }
        if fields.get("mode") == "replace":
            white = generator.random((frames, 16, 32, 1)) < 0.5
            mask = np.where(white, 255, 0).astype(np.uint8).repeat(3, axis=3)
            defaults |= {"background": video(16, 32), "mask": ArrayFrames(mask)}
        return AnimateRequest(**(defaults | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def shared_tokenizer() -> bytes:
    """A tokenizer.json that knows letters, spaces and `</s>`."""
    pieces: list[tuple[str, float]] = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "$A </s>", special_tokens=[("</s>", 1)]
    )
    return str(tokenizer.to_str()).encode()
