"""A folder that is copied while its server works is taken up by another one, elsewhere."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from durable import Life, write_media
from toy_bundle import write_toy_bundle

from wan_trt.engine import JobState


def back_up(data: Path, copy: Path) -> None:
    """As docs/operations.md says: first the store, then the files."""
    copy.mkdir()
    store, saved = data / "jobs.sqlite3", copy / "jobs.sqlite3"
    if shutil.which("sqlite3"):
        subprocess.run(["sqlite3", str(store), f".backup {saved}"], check=True, timeout=60)
    else:
        with sqlite3.connect(store) as source, sqlite3.connect(saved) as target:
            source.backup(target)
        source.close()
        target.close()
    for folder in ("uploads", "jobs"):
        shutil.copytree(data / folder, copy / folder)


@pytest.mark.parametrize("units", [0, 3, 6, 9])
def test_a_copy_goes_on_where_it_was_and_ends_with_the_same_bytes(
    tmp_path: Path, units: int
) -> None:
    bundle = write_toy_bundle(tmp_path / "toy", high=0.5, low=0.25)
    media = write_media(tmp_path, frames=7)
    life = Life(bundle, tmp_path / "data")
    life.submit(media, key="first", seed=1)
    life.submit(media, key="second", seed=2)
    for _ in range(units):
        life.engine.step()
    back_up(tmp_path / "data", tmp_path / "copy")
    life.run()
    expected = life.results()
    life.stop()

    shutil.rmtree(tmp_path / "data")
    (tmp_path / "copy").rename(tmp_path / "data")  # the restore
    again = Life(bundle, tmp_path / "data")
    again.run()
    assert again.results() == expected
    record = again.submit(media, key="first", seed=1)  # its idempotency key is there too
    assert record.latest.state is JobState.DONE
    again.stop()
