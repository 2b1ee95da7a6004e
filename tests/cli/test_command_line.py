"""What holds for every command: the version, and how options are spelled."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from wan_trt.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"wan-trt {project['version']}\n"


def test_a_source_tree_without_metadata_says_so() -> None:
    """Without site-packages: no metadata, and nothing but the standard library."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tests' / '.path')!r});"
    code += "from wan_trt.cli.main import main; main(['--version'])"
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.startswith("wan-trt, version unknown: a source tree")


@pytest.mark.parametrize(
    ("words", "abbreviation"),
    [
        (["--vers", "inspect", "bundle"], "--vers"),
        (["inspect", "bundle", "--verif"], "--verif"),
        (["generate", "b", "--reference", "r", "--out", "o", "--segment", "9"], "--segment 9"),
        (["submit", "--reference", "hero.png", "--neg=blur"], "--neg=blur"),
        (["serve", "bundle", "--thread", "1"], "--thread 1"),
    ],
)
def test_options_must_be_written_out(
    words: list[str], abbreviation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    error = capsys.readouterr().err
    assert f"unrecognized arguments: {abbreviation}; see wan-trt" in error
