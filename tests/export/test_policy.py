"""Policies: which linears of a denoiser they make FP8, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_trt.engine.errors import InputError
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graphs import plan
from wan_trt.export.modeling.denoiser import Denoiser
from wan_trt.export.quantize.policy import Policy, candidates, presets

BLOCK = {
    *(f"self_attn.{part}" for part in "qkvo"),
    *(f"cross_attn.{part}" for part in "qo"),
    *(f"ffn.{part}" for part in "02"),
}
LAYERS = 8
NAMES = [f"blocks.{block}.{part}" for block in range(LAYERS) for part in sorted(BLOCK)]
NAMES += [f"face_adapter.fuser_blocks.{k}.{part}" for k in (0, 1) for part in ("linear1_q",)]


def _linear(modules: str, precision: str = "fp8", rest: str = "") -> str:
    return f'[[linear]]\nmodules = ["{modules}"]\nprecision = "{precision}"\n{rest}\n'


def test_candidates_are_the_linears_of_every_step(tiny_checkpoint: Path) -> None:
    denoiser = plan(Checkpoint.open(tiny_checkpoint)).expert["denoiser"]
    assert isinstance(denoiser, Denoiser)
    expected = {f"blocks.{block}.{part}" for block in range(4) for part in BLOCK}
    expected |= {
        f"face_adapter.fuser_blocks.{k}.{part}" for k in (0, 1) for part in ("linear1_q", "linear2")
    }
    assert set(candidates(denoiser)) == expected
    assert Policy.read("wide").apply(candidates(denoiser), 4).linears == expected


def test_presets() -> None:
    assert presets() == ("modelopt", "narrow", "wide")
    wide, modelopt, narrow = (
        Policy.read(name).apply(NAMES, LAYERS).linears for name in ("wide", "modelopt", "narrow")
    )
    assert wide == set(NAMES)
    assert modelopt == {n for n in NAMES if n[:9] in ("blocks.3.", "blocks.4.") or n[0] == "f"}
    assert narrow == {n for n in NAMES if ".ffn." in n or ".cross_attn." in n}


@pytest.mark.parametrize("preset", presets())
def test_presets_fit_every_model(tiny_checkpoint: Path, i2v_checkpoint: Path, preset: str) -> None:
    """Also the one without face blocks. Of eight blocks, so that the middle ones are left."""
    for path in (tiny_checkpoint, i2v_checkpoint):
        denoiser = plan(Checkpoint.open(path)).expert["denoiser"]
        assert isinstance(denoiser, Denoiser)
        names = [name for name in candidates(denoiser) if not name.startswith("blocks.")]
        names += [name for name in NAMES if name.startswith("blocks.")]
        found = Policy.read(preset).apply(names, LAYERS).linears
        assert {"blocks.3.ffn.0", "blocks.4.cross_attn.q"} <= found


def test_later_tables_win() -> None:
    text = _linear("blocks.*") + _linear("*.ffn.2", "high") + _linear("blocks.5.ffn.2")
    found = Policy.parse(text, "p").apply(NAMES, LAYERS).linears
    ffn = {n for n in NAMES if n.endswith("ffn.2")}
    assert found == {n for n in NAMES if n[0] == "b"} - ffn | {"blocks.5.ffn.2"}


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [("3:-3", {3, 4}), ("-2:", {6, 7}), (":1", {0}), (":", set(range(8))), ("6:99", {6, 7})],
)
def test_blocks_are_a_slice(blocks: str, expected: set[int]) -> None:
    text = _linear("blocks.*.ffn.0", rest=f'blocks = "{blocks}"')
    found = Policy.parse(text, "p").apply(NAMES, LAYERS).linears
    assert found == {f"blocks.{block}.ffn.0" for block in expected}


def test_attention_is_by_block() -> None:
    text = _linear("*.ffn.0") + '[[attention]]\nblocks = "2:4"\nprecision = "fp8"\n'
    text += '[[attention]]\nblocks = "3:"\nprecision = "high"\n'
    assert Policy.parse(text, "p").apply(NAMES, LAYERS).attention == {2}


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
        Policy.parse(text, "mine").apply(NAMES, LAYERS)


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"broad cannot be read .*one of modelopt, narrow, wide"):
        Policy.read("broad")
    (tmp_path / "p.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        Policy.read(tmp_path / "p.toml")
