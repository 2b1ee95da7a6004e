"""Policies: which linears of a model they make FP8, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_trt.engine.errors import InputError
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graphs import plan
from wan_trt.export.quantize.policy import Policy, candidates, flat, presets

BLOCK = {
    *(f"self_attn.{part}" for part in "qkvo"),
    *(f"cross_attn.{part}" for part in "qo"),
    *(f"ffn.{part}" for part in "02"),
}
TEXT = {f"cross_attn.{part}" for part in "kv"}
IMAGE = {f"cross_attn.{part}_img" for part in "kv"}
LAYERS = 8


def _blocks(parts: set[str], layers: int = LAYERS) -> tuple[str, ...]:
    return tuple(f"blocks.{block}.{part}" for block in range(layers) for part in sorted(parts))


def _fusers(*parts: str) -> tuple[str, ...]:
    return tuple(f"face_adapter.fuser_blocks.{k}.{part}" for k in (0, 1) for part in parts)


MODULES = {
    "text_context": _blocks(TEXT),
    "image_context": _blocks(IMAGE),
    "face_context": _fusers("linear1_k", "linear1_v"),
    "denoiser": (*_blocks(BLOCK), *_fusers("linear1_q", "linear2")),
}
NAMES = flat(MODULES)


def _applied(policy: Policy) -> set[str]:
    """What is FP8 of MODULES, all graphs together."""
    return set(flat(policy.apply(MODULES, LAYERS).linears))


def _linear(modules: str, precision: str = "fp8", rest: str = "") -> str:
    return f'[[linear]]\nmodules = ["{modules}"]\nprecision = "{precision}"\n{rest}\n'


def test_candidates_are_the_linears_of_blocks_and_face_adapter(tiny_checkpoint: Path) -> None:
    found = candidates(plan(Checkpoint.open(tiny_checkpoint)).expert)
    assert {graph: set(names) for graph, names in found.items()} == {
        "text_context": {*_blocks(TEXT, 4)},
        "image_context": {*_blocks(IMAGE, 4)},
        "face_context": {*_fusers("linear1_k", "linear1_v")},
        "denoiser": {*_blocks(BLOCK, 4), *_fusers("linear1_q", "linear2")},
    }
    assert len(flat(found)) == len(set(flat(found)))
    assert set(flat(Policy.read("wide").apply(found, 4).linears)) == set(flat(found))


def test_candidates_without_image_and_faces(i2v_checkpoint: Path) -> None:
    found = candidates(plan(Checkpoint.open(i2v_checkpoint)).expert)
    assert {graph: set(names) for graph, names in found.items()} == {
        "text_context": {*_blocks(TEXT, 4)},
        "denoiser": {*_blocks(BLOCK, 4)},
    }


def test_presets() -> None:
    assert presets() == ("modelopt", "narrow", "wide")
    assert _applied(Policy.read("wide")) == set(NAMES)
    whole = ("blocks.3.", "blocks.4.", "face_adapt")
    assert _applied(Policy.read("modelopt")) == {n for n in NAMES if n.startswith(whole)}
    narrow = Policy.read("narrow").apply(MODULES, LAYERS).linears
    assert narrow == {"denoiser": {*_blocks({"ffn.0", "ffn.2", "cross_attn.q", "cross_attn.o"})}}


@pytest.mark.parametrize("preset", presets())
def test_presets_fit_a_model_without_faces(preset: str) -> None:
    """Of eight blocks, so that the middle ones are left."""
    modules = {"text_context": _blocks(TEXT), "denoiser": _blocks(BLOCK)}
    found = flat(Policy.read(preset).apply(modules, LAYERS).linears)
    assert {"blocks.3.ffn.0", "blocks.4.cross_attn.q"} <= set(found)


def test_later_tables_win() -> None:
    text = _linear("blocks.*") + _linear("*.ffn.2", "high") + _linear("blocks.5.ffn.2")
    found = _applied(Policy.parse(text, "p"))
    ffn = {n for n in NAMES if n.endswith("ffn.2")}
    assert found == {n for n in NAMES if n[0] == "b"} - ffn | {"blocks.5.ffn.2"}


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [("3:-3", {3, 4}), ("-2:", {6, 7}), (":1", {0}), (":", set(range(8))), ("6:99", {6, 7})],
)
def test_blocks_are_a_slice(blocks: str, expected: set[int]) -> None:
    text = _linear("blocks.*.ffn.0", rest=f'blocks = "{blocks}"')
    found = _applied(Policy.parse(text, "p"))
    assert found == {f"blocks.{block}.ffn.0" for block in expected}


def test_attention_is_by_block() -> None:
    text = _linear("*.ffn.0") + '[[attention]]\nblocks = "2:4"\nprecision = "fp8"\n'
    text += '[[attention]]\nblocks = "3:"\nprecision = "high"\n'
    assert Policy.parse(text, "p").apply(MODULES, LAYERS).attention == {2}


def test_the_digest_is_of_the_tables_alone(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("# mine\n" + _linear("*.ffn.0") + "\n\n")
    own = Policy.read(file)
    assert own.name == str(file)
    assert own.digest == Policy.parse(_linear("*.ffn.0", rest='blocks = ":"'), "p").digest
    assert own.digest != Policy.parse(_linear("*.ffn.2"), "p").digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[linear", "is no TOML"),
        ("[[linears]]\n", r"unknown tables \['linears'\]"),
        ("linear = 3\n", "no list of tables"),
        (_linear("*", rest="layers = 3"), r"unknown keys \['layers'\]"),
        ('[[linear]]\nmodules = "*"\nprecision = "fp8"\n', "modules = '\\*'"),
        ('[[linear]]\nprecision = "fp8"\n', "modules = None"),
        (_linear("*", "int8"), "precision = 'int8'; expected fp8 or high"),
        ('[[linear]]\nmodules = ["*"]\n', "precision = None"),
        (_linear("*", rest="blocks = 3"), "blocks = 3"),
        (_linear("*", rest='blocks = "1:2:3"'), "blocks = '1:2:3'"),
    ],
)
def test_a_file_that_is_no_policy(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        Policy.parse(text, "mine")
    assert "the policy mine" in raised.value.given
    assert raised.value.field == "policy"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_linear("blocks.*") + _linear("head.*"), "'head.\\*' that matches no linear"),
        (_linear("blocks.*.norm3"), "matches no linear"),
        (_linear("*", "high"), "quantises nothing"),
        (_linear("*") + _linear("*", "high"), "quantises nothing"),
        (_linear("*", rest='blocks = "9:"'), "quantises nothing"),
        ("", "quantises nothing"),
    ],
)
def test_a_policy_that_does_not_fit(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Policy.parse(text, "mine").apply(MODULES, LAYERS)


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"broad cannot be read .*one of modelopt, narrow, wide"):
        Policy.read("broad")
    (tmp_path / "p.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        Policy.read(tmp_path / "p.toml")
