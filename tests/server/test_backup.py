"""A folder that is copied while its server works is taken up by another one, elsewhere."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from durable import Life, write_media
from toy_bundle import write_toy_bundle

from wan_trt.engine import JobState
from wan_trt.server.principal import EVERYBODY


def back_up(data: Path, copy: Path, meanwhile: Callable[[], None] = lambda: None) -> None:
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
    meanwhile()
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


def test_a_job_that_went_on_between_store_and_files_ends_with_an_error_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    bundle = write_toy_bundle(tmp_path / "toy", high=0.5, low=0.25)
    media = write_media(tmp_path, frames=7)
    life = Life(bundle, tmp_path / "data")
    done = life.submit(media, seed=1)
    life.run()
    busy = life.submit(media, seed=2)
    for _ in range(3):
        life.engine.step()
    waiting = life.submit(media, seed=3)

    def go_on() -> None:
        for _ in range(2):
            life.engine.step()

    back_up(tmp_path / "data", tmp_path / "copy", go_on)
    content = done.result().read_bytes()
    life.stop()
    again = Life(bundle, tmp_path / "copy")
    again.run()
    ends = [again.jobs.get(record.job_id, EVERYBODY).latest for record in (done, busy, waiting)]
    assert [end.state for end in ends] == [JobState.DONE, JobState.FAILED, JobState.DONE]
    assert "submit it again" in str(ends[1].error)
    assert again.jobs.get(done.job_id, EVERYBODY).result().read_bytes() == content
    again.stop()
