"""Thresholds as files: what is not understood is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.engine.errors import InputError


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_are_what_the_targets_say() -> None:
    default = Thresholds.read()
    assert default.velocity.cosine_min == 0.999
    assert default.frames.drift_max == 1.0


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    mine = Thresholds.read(write(tmp_path, "[frames]\ndrift_max = 2\n"))
    default = Thresholds.read()
    assert mine.frames.drift_max == 2.0
    assert mine.frames.ssim_min == default.frames.ssim_min
    assert mine.velocity == default.velocity
    assert mine.digest != default.digest


def test_the_digest_is_of_the_values_not_of_the_text(tmp_path: Path) -> None:
    same = write(tmp_path, "# as it was\n[velocity]\ncosine_min = 9.99e-1\n")
    assert Thresholds.read(same).digest == Thresholds.read().digest


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[frames]\npsrn_min = 3\n", "psrn_min"),
        ("[colours]\ndrift_max = 3\n", "colours"),
        ("drift_max = 3\n", "drift_max"),
        ("[frames]\ndrift_max = 'low'\n", "frames.drift_max = 'low'"),
        ("[frames]\ndrift_max = nan\n", "frames.drift_max = nan"),
        ("[frames]\ndrift_max = true\n", "frames.drift_max = True"),
        ("[frames\n", "mine.toml"),
    ],
)
def test_what_is_not_understood_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=named) as raised:
        Thresholds.read(write(tmp_path, text))
    assert raised.value.field == "thresholds"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml"):
        Thresholds.read(tmp_path / "nowhere.toml")
