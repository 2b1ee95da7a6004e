"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

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
