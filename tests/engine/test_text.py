"""Prompts on their way to the text encoder: cleaned once, and the model's own where empty."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from wan_trt.engine import Bundle
from wan_trt.engine.executor import Executor
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.ort import load_executor
from wan_trt.engine.stages.text import REMEMBERED, TextEncoder

MakeBundle = Callable[..., Bundle]


def load(bundle: Bundle, graph: str, weight_set: str) -> Executor:
    return load_executor(bundle, graph, weight_set, threads=1)


def go_on() -> None:
    """Nobody cancels."""


@pytest.fixture
def bundle(make_bundle: MakeBundle, shared_tokenizer: bytes) -> Bundle:
    bundle = make_bundle()
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    return bundle


@pytest.fixture
def encoder(bundle: Bundle) -> TextEncoder:
    return TextEncoder(bundle, Executors(bundle, load), HostBackend())


def rows(encoder: TextEncoder, text: str | None, name: str = "positive") -> NDArray[np.float32]:
    return encoder.rows({name: text}, go_on)[name]


def test_prompts_are_cleaned_once(encoder: TextEncoder, shared_tokenizer: bytes) -> None:
    """Three escapes, of which cleaning undoes two: a second time would undo the third."""
    ids = Tokenizer.from_str(shared_tokenizer.decode()).encode("<&amp;").ids
    tokens = rows(encoder, "<&amp;amp;amp;")
    assert tokens[: len(ids), 0].tolist() == ids
    assert not tokens[len(ids) :].any()


@pytest.mark.parametrize("name", ["positive", "negative"])
def test_an_empty_prompt_is_the_models_own(encoder: TextEncoder, name: str) -> None:
    np.testing.assert_array_equal(rows(encoder, "", name), rows(encoder, None, name))


def test_an_empty_prompt_stays_empty_where_the_models_own_is(bundle: Bundle) -> None:
    """Image-to-video has no prompt of its own."""
    object.__setattr__(bundle.manifest, "prompts", {"negative": "blurry"})
    encoder = TextEncoder(bundle, Executors(bundle, load), HostBackend())
    assert rows(encoder, "").any()
    np.testing.assert_array_equal(rows(encoder, ""), rows(encoder, None))


def test_what_is_wanted_is_not_forgotten_meanwhile(encoder: TextEncoder) -> None:
    texts = "abcdefghijk"[:REMEMBERED]
    oldest = rows(encoder, texts[0])
    for text in texts[1:]:
        rows(encoder, text)
    both = encoder.rows({"positive": "z", "negative": texts[0]}, go_on)
    np.testing.assert_array_equal(both["negative"], oldest)
