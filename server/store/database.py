"""The SQLite file of a server's jobs: its tables, its version, and how it is written."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wan_trt.engine.errors import ExecutionError, InputError, StorageFullError

_APPLICATION = 0x57414E54  # "WANT"

STEPS = (
    """
CREATE TABLE jobs (
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT NOT NULL,
    request BLOB NOT NULL,            -- SubmitRequest as it came
    bundle TEXT NOT NULL,             -- SHA-256 of the manifest
    submitted REAL NOT NULL,          -- times are seconds since 1970
    deadline REAL,
    cancelled INTEGER NOT NULL DEFAULT 0,
    finished REAL,
    fetched INTEGER NOT NULL DEFAULT 0,
    result_nbytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE events (
    job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    sequence INTEGER NOT NULL,
    message BLOB NOT NULL,            -- Event
    PRIMARY KEY (job_id, sequence)
) WITHOUT ROWID;
CREATE TABLE checkpoints (
    job_id TEXT PRIMARY KEY REFERENCES jobs (job_id) ON DELETE CASCADE,
    segment INTEGER NOT NULL,
    stage TEXT NOT NULL,
    step INTEGER NOT NULL,
    file TEXT                         -- in the job's folder, where there are arrays
);
CREATE TABLE segments (
    job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
    segment INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    PRIMARY KEY (job_id, segment)
) WITHOUT ROWID;
""",
    """
ALTER TABLE jobs ADD COLUMN at_work INTEGER NOT NULL DEFAULT 0;  -- a unit of it runs
ALTER TABLE jobs ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;   -- of processes meanwhile
""",
    """
CREATE TABLE costs (
    bundle TEXT NOT NULL,
    stage TEXT NOT NULL,
    engine TEXT NOT NULL,
    height INTEGER NOT NULL,
    width INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    precision TEXT NOT NULL,
    backend TEXT NOT NULL,
    seconds REAL NOT NULL,            -- of a pass
    measured REAL NOT NULL,
    PRIMARY KEY (bundle, stage, engine, height, width, frames, precision, backend)
) WITHOUT ROWID;
""",
    """
ALTER TABLE jobs ADD COLUMN owner TEXT NOT NULL DEFAULT '';  -- name of a principal
""",
    """
CREATE TABLE origins (
    job_id TEXT PRIMARY KEY REFERENCES jobs (job_id) ON DELETE CASCADE,
    request_id TEXT NOT NULL,         -- of the call that submitted it
    traceparent TEXT NOT NULL         -- W3C Trace Context, or empty
) WITHOUT ROWID;
""",
    """
ALTER TABLE jobs ADD COLUMN state TEXT NOT NULL DEFAULT '';  -- of the newest event
ALTER TABLE jobs ADD COLUMN video BLOB;                      -- VideoFormat
CREATE INDEX jobs_by_state ON jobs (state, arrival);
CREATE INDEX jobs_by_owner ON jobs (owner, arrival);
CREATE TABLE labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    arrival INTEGER NOT NULL REFERENCES jobs (arrival) ON DELETE CASCADE,
    PRIMARY KEY (key, value, arrival)
) WITHOUT ROWID;
CREATE INDEX labels_by_job ON labels (arrival);
""",
    """
ALTER TABLE jobs ADD COLUMN bundle_name TEXT NOT NULL DEFAULT '';
CREATE TABLE bundles (                -- that were added while a server ran
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    digest TEXT NOT NULL,             -- SHA-256 of the manifest
    draining INTEGER NOT NULL DEFAULT 0
);
""",
)
"""What leads from each version to the next; a new file goes through all of them."""

VERSION = len(STEPS)

_REMEDIES = {
    sqlite3.SQLITE_FULL: "make room",
    sqlite3.SQLITE_BUSY: "end the other process that writes jobs.sqlite3",
}
"""What helps against a state that passes."""


def require_ours(path: Path) -> None:
    """Look at a store without changing it. Raises InputError unless a server can take it up."""
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        ) as connection:
            version, application = _kind(connection)
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error
    if version > VERSION or application != _APPLICATION:
        raise _of_another_version(path, version)


class Database:
    """One connection that all threads share, one at a time."""

    def __init__(self, path: Path, durable: bool) -> None:
        """`durable`: what was written survives the machine, not only the process. A file of an
        earlier version is brought up to this one. Raises InputError for one of a later version, or
        that is something else."""
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._prepare(path)
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error

    def _prepare(self, path: Path) -> None:
        version, application = _kind(self._connection)
        fresh = (
            version == 0 and not self._connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        )
        if not fresh and (application != _APPLICATION or not 1 <= version <= VERSION):
            self._connection.close()
            raise _of_another_version(path, version)
        if version < VERSION:
            with self.writing() as connection:
                for step in STEPS[version:]:
                    for statement in step.split(";"):
                        connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: when the block ends well, all of it is on disk. Raises StorageFullError
        where the disk has no room for it, or another process keeps the file to itself; nothing of
        it has happened then."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self.commit()
                except BaseException:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                if (action := _REMEDIES.get(getattr(error, "sqlite_errorcode", -1))) is not None:
                    raise StorageFullError(
                        f"the job store cannot be written ({error})", action=action
                    ) from error
                raise ExecutionError(
                    f"the job store failed ({error})", action="report this"
                ) from error

    def commit(self) -> None:
        """What was written in the transaction counts from now on."""
        self._connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            yield self._connection

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _kind(connection: sqlite3.Connection) -> tuple[int, int]:
    """Version and application of a store."""
    version, application = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("user_version", "application_id")
    )
    return version, application


def _unusable(path: Path, error: sqlite3.DatabaseError) -> InputError:
    return InputError(
        f"{path} cannot be used ({error})",
        expected="the job store of a wan-trt server",
        action="restore it, or name another folder",
        field="data",
    )


def _of_another_version(path: Path, version: int) -> InputError:
    return InputError(
        f"{path} is a job store of version {version}",
        expected=f"version {VERSION} or one before it",
        action="use the wan-trt that wrote it, or name another folder",
        field="data",
    )
