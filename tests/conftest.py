"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_trt.engine.bundle import Bundle

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden data and example media that stands beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("golden data: ../shared is not beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Golden data computed with the official code."""
    return shared / "reference" / "wan"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint with random weights in the official layout; sizes `TINY`."""
    from wan_trt.export.synthetic.checkpoint import write_checkpoint
    from wan_trt.export.synthetic.sizes import TINY

    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", TINY)


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """`tiny_checkpoint`, exported without LoRAs."""
    from wan_trt.export.bundle_writer import export_bundle

    return export_bundle(tiny_checkpoint, tmp_path_factory.mktemp("bundle") / "tiny")
