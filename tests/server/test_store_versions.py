"""A folder that an earlier version of the server wrote is taken up by this one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from durable import Life, write_media

from wan_trt.engine import Bundle, JobState
from wan_trt.server.principal import EVERYBODY
from wan_trt.server.store.database import STEPS, VERSION

_TABLES = ("jobs", "events", "checkpoints", "segments")


@pytest.fixture
def media(tmp_path: Path) -> dict[str, Path]:
    return write_media(tmp_path, frames=5)


@pytest.mark.parametrize("version", range(1, VERSION))
def test_a_store_of_an_earlier_version_is_brought_up_to_date(
    version: int, tiny_bundle: Bundle, media: dict[str, Path], memory_folder: Path
) -> None:
    """Its jobs go on, and belong to nobody."""
    folder = memory_folder / "data"
    life = Life(tiny_bundle, folder)
    job_id = life.submit(media).job_id
    life.stop()
    rewrite_as(version, folder / "jobs.sqlite3")
    life = Life(tiny_bundle, folder)
    assert life.jobs.get(job_id, EVERYBODY).owner == ""
    life.run()
    assert life.jobs.get(job_id, EVERYBODY).latest.state is JobState.DONE
    life.stop()


def rewrite_as(version: int, path: Path) -> None:
    """Make the store one of an earlier version, with all of its rows that fit."""
    before = path.with_suffix(".before")
    with closing(sqlite3.connect(path)) as new, closing(sqlite3.connect(before)) as old:
        for step in STEPS[:version]:
            old.executescript(step)
        for table in _TABLES:
            columns = ", ".join(row[1] for row in old.execute(f"PRAGMA table_info({table})"))
            rows = new.execute(f"SELECT {columns} FROM {table}").fetchall()
            marks = ", ".join("?" * (columns.count(",") + 1))
            old.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
        application = new.execute("PRAGMA application_id").fetchone()[0]
        old.execute(f"PRAGMA application_id = {application}")
        old.execute(f"PRAGMA user_version = {version}")
        old.commit()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    before.replace(path)
