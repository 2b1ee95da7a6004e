"""Scales files: what is written is read, and what does not belong to an export is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from wan_trt.engine.errors import InputError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.quantize.fitted import Fitted
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.quantize.scales import LoraUse, Scales, ScalesOrigin

HIGH, LOW = ExpertName.HIGH, ExpertName.LOW
ORIGIN = ScalesOrigin(
    model=ModelName.ANIMATE,
    checkpoint={"config.json": "aa", "model.safetensors": "bb"},
    loras={"high": (LoraUse("cc", 0.5), LoraUse("dd", 1.0, 16.0)), "low": ()},
    boundary=0.9,
    policy="ee",
    method="max",
    sampling={"samples": [{"steps": 4}]},
    inputs={"dance.mp4": "ff"},
    tools={"wan-trt": "1"},
)
RANGES = {HIGH: {"blocks.0.ffn.0": 3.5, "blocks.0.ffn.2": 0.125}, LOW: {"blocks.0.ffn.0": 7.0}}
BOTH = {HIGH: {"a": 1.0, "b": 2.0}, LOW: {"a": 3.0, "b": 4.0}}


def rounding(inputs: str, weights: str = "") -> Rounding:
    """Of linears named by a letter; `weights` are more of which the matrix alone is rounded."""
    return Rounding(frozenset(inputs + weights), frozenset(inputs))


AB = rounding("ab")


def _changed(path: Path, tensors: dict[str, Any], metadata: dict[str, str] | None = None) -> Path:
    """The file with some tensors, or all of the metadata, put differently."""
    content = load_file(path) | {name: np.asarray(value) for name, value in tensors.items()}
    save_file(content, path, _metadata(path) if metadata is None else metadata)
    return path


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="np") as file:
        metadata: dict[str, str] = file.metadata()
    return metadata


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "animate.scales"
    Scales(ORIGIN, RANGES).write(path)
    return path


def test_what_is_written_is_read(file: Path) -> None:
    assert Scales.read(file) == Scales(ORIGIN, RANGES)
    assert {name: value.shape for name, value in load_file(file).items()} == {
        "high/blocks.0.ffn.0": (),
        "high/blocks.0.ffn.2": (),
        "low/blocks.0.ffn.0": (),
    }
    Scales(replace(ORIGIN, boundary=0.8), BOTH).write(file)
    assert Scales.read(file) == Scales(replace(ORIGIN, boundary=0.8), BOTH)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, 0.0, -1.0, 1e-37], ids=["nan", "inf", "0", "-1", "subnormal"]
)
def test_a_range_that_is_none(file: Path, value: float) -> None:
    """1e-37 / 448 is no normal float32."""
    _changed(file, {"low/blocks.0.ffn.0": np.float32(value)})
    with pytest.raises(InputError, match=r"range of low/blocks\.0\.ffn\.0 is") as raised:
        Scales.read(file)
    assert raised.value.field == "scales"
    with pytest.raises(InputError, match=r"range of low/a is"):
        Scales(ORIGIN, {HIGH: {"a": 1.0}, LOW: {"a": value}})


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"high/a": np.ones(3, np.float32)}, "range of high/a is"),
        ({"middle/a": np.float32(1)}, "unknown tensor middle/a"),
        ({"a": np.float32(1)}, "unknown tensor a"),
        ({"high/": np.float32(1)}, "unknown tensor high/"),
    ],
)
def test_tensors_that_are_no_ranges(file: Path, tensors: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Scales.read(_changed(file, tensors))


def test_what_was_fitted_is_read_again(file: Path) -> None:
    high = Fitted(np.array([1.5, 0.1], np.float32), np.array([0.1, -0.2], np.float32))
    low = Fitted(np.array([2.5, 1], np.float32))
    fitted = {HIGH: {"a": high, "b": low}, LOW: {"a": low, "b": high}}
    Scales(ORIGIN, BOTH, fitted).write(file)
    assert Scales.read(file) == Scales(ORIGIN, BOTH, fitted)
    assert Scales.read(file) != Scales(ORIGIN, BOTH, fitted | {HIGH: fitted[LOW]})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("high/a:column_scales", [1.0, math.nan], "columns of high/a: NaN"),
        ("high/a:column_scales", [1.0, -1.0], "columns of high/a: a scale that is 0, negative"),
        ("high/a:column_scales", [1.0, 0.0], "columns of high/a: a scale that is 0"),
        ("high/a:column_scales", [1.0, 1e-39], "columns of high/a: a scale .* or subnormal"),
        ("high/a:bias_shift", [1.0], "columns of high/a: 2 columns and a bias of 1"),
        ("high/a:bias_shift", [1.0, math.inf], "columns of high/a: NaN or infinity"),
        ("low/a:bias_shift", [1.0], "low/a:bias_shift without column scales"),
        ("high/a:colour", [1.0], "unknown tensor high/a:colour"),
    ],
)
def test_fits_that_are_none(file: Path, name: str, value: list[float], said: str) -> None:
    fitted = Fitted(np.ones(2, np.float32), np.ones(2, np.float32))
    Scales(ORIGIN, BOTH, {HIGH: {"a": fitted, "b": fitted}}).write(file)
    with pytest.raises(InputError, match=said) as raised:
        Scales.read(_changed(file, {name: np.array(value, np.float32)}))
    assert raised.value.field == "scales"


def test_other_files(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Scales.read(tmp_path / "absent")
    with pytest.raises(InputError, match="no record of its origin"):
        Scales.read(_changed(file, {}, {"made": "elsewhere"}))
    for metadata in ("{", json.dumps({"model": "wan2.2-animate"}), '"text"'):
        Scales(ORIGIN, RANGES).write(file)
        with pytest.raises(InputError):
            Scales.read(_changed(file, {}, _metadata(file) | {"wan_trt.scales": metadata}))
    Scales(ORIGIN, RANGES).write(file)
    with pytest.raises(InputError, match=r"no wan_trt\.scales\.sha256"):
        Scales.read(_changed(file, {}, {"wan_trt.scales": _metadata(file)["wan_trt.scales"]}))
    file.write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be read"):
        Scales.read(file)


def test_ranges_that_were_measured_otherwise(file: Path) -> None:
    """One that is 8 times too large, and those of the experts swapped."""
    before = load_file(file)
    name = "high/blocks.0.ffn.0"
    swapped = {name: before["low/blocks.0.ffn.0"], "low/blocks.0.ffn.0": before[name]}
    for wrong in ({name: before[name] * 8}, swapped):
        Scales(ORIGIN, RANGES).write(file)
        with pytest.raises(InputError, match="other numbers, or another expert's"):
            Scales.read(_changed(file, wrong))


@pytest.mark.parametrize("kind", ["column_scales", "bias_shift"])
def test_fits_that_were_found_otherwise(file: Path, kind: str) -> None:
    """One that was changed, and those of two linears or of the experts swapped."""
    fits = [Fitted(np.full(2, x, np.float32), np.full(2, x / 10, np.float32)) for x in (1, 2, 3, 4)]
    fitted = {HIGH: {"a": fits[0], "b": fits[1]}, LOW: {"a": fits[2], "b": fits[3]}}
    Scales(ORIGIN, BOTH, fitted).write(file)
    before = load_file(file)
    first, second, other = (f"{name}:{kind}" for name in ("high/a", "high/b", "low/a"))
    for wrong in (
        {first: before[first] * np.float32(1.001)},
        {first: before[second], second: before[first]},
        {first: before[other], other: before[first]},
    ):
        Scales(ORIGIN, BOTH, fitted).write(file)
        with pytest.raises(InputError, match="other numbers, or another expert's"):
            Scales.read(_changed(file, wrong))


def test_they_fit_what_they_were_measured_on() -> None:
    scales = Scales(ORIGIN, BOTH)
    scales.require(ORIGIN, AB)
    scales.require(replace(ORIGIN, method="percentile", tools={}, inputs={}), AB)


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (replace(ORIGIN, model=ModelName.IMAGE_TO_VIDEO), "another model"),
        (replace(ORIGIN, checkpoint={"config.json": "aa"}), "another checkpoint"),
        (replace(ORIGIN, loras={"high": (), "low": ()}), "other LoRAs"),
        (
            replace(ORIGIN, loras={"high": (*ORIGIN.loras["high"][::-1],), "low": ()}),
            "other LoRAs",
        ),
        (
            replace(ORIGIN, loras={"high": (), "low": ORIGIN.loras["high"]}),
            "other LoRAs",
        ),
        (replace(ORIGIN, boundary=0.875), "another boundary"),
        (replace(ORIGIN, policy="00"), "another policy"),
    ],
)
def test_they_fit_nothing_else(origin: ScalesOrigin, said: str) -> None:
    with pytest.raises(InputError, match=f"measured with {said}") as raised:
        Scales(ORIGIN, BOTH).require(origin, AB)
    assert raised.value.exit_code == 2
    assert "calibrate again" in raised.value.action


def test_modules_without_range_and_ranges_without_module() -> None:
    with pytest.raises(InputError, match="high-noise expert lack c"):
        Scales(ORIGIN, BOTH).require(ORIGIN, rounding("abc"))
    with pytest.raises(InputError, match="high-noise expert have ranges that nothing uses: b"):
        Scales(ORIGIN, BOTH).require(ORIGIN, rounding("a"))
    with pytest.raises(InputError, match="low-noise expert lack b"):
        Scales(ORIGIN, {HIGH: {"a": 1.0, "b": 2.0}, LOW: {"a": 3.0}}).require(ORIGIN, AB)
    with pytest.raises(InputError, match="low-noise expert lack a"):
        Scales(ORIGIN, {HIGH: {"a": 1.0}}).require(ORIGIN, rounding("a"))
    with pytest.raises(InputError, match=r"lack a, b, c, d, e, \.\."):
        Scales(ORIGIN, {HIGH: {}, LOW: {}}).require(ORIGIN, rounding("abcdef"))


def test_linears_without_ranges_are_fitted_too() -> None:
    """Those of contexts: their inputs are not rounded."""
    fit = Fitted(np.ones(2, np.float32))
    scales = Scales(ORIGIN, BOTH, {expert: dict.fromkeys("abc", fit) for expert in ExpertName})
    scales.require(ORIGIN, rounding("ab", weights="c"))
    Scales(ORIGIN, BOTH).require(ORIGIN, rounding("ab", weights="c"))
    with pytest.raises(InputError, match="high-noise expert have ranges that nothing uses: b"):
        scales.require(ORIGIN, rounding("a", weights="bc"))
    with pytest.raises(InputError, match="have column scales that nothing uses: c"):
        scales.require(ORIGIN, AB)
    with pytest.raises(InputError, match="lack column scales of d"):
        scales.require(ORIGIN, rounding("ab", weights="cd"))
    with pytest.raises(InputError, match="high/b has a range and no column scales"):
        Scales(ORIGIN, BOTH, {HIGH: {"a": fit}})
