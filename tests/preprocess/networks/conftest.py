"""The tiny networks, written once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_networks import write_networks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_networks(tmp_path_factory.mktemp("networks") / "process_checkpoint")
