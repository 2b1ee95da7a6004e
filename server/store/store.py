"""What a server must know of its jobs after it was killed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.cursor import Cursor
from wan_trt.engine.errors import WanTrtError
from wan_trt.engine.request import Event, JobState
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.server.messages import (
    event_from_wire,
    event_to_wire,
    video_from_wire,
    video_to_wire,
)
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.store.bundle_rows import BundleRows
from wan_trt.server.store.cost_rows import CostRows
from wan_trt.server.store.database import Database
from wan_trt.server.store.job_index import JobIndex
from wan_trt.server.store.origin_rows import OriginRows
from wan_trt.server.submission import VideoFormat


@dataclass(frozen=True)
class StoredJob:
    """One accepted job. `request` is the SubmitRequest that asked for it, serialized; `bundle`
    the digest of the bundle that it was accepted for, and `bundle_name` what that was called;
    `owner` the name of who submitted it; times are seconds since 1970. `deaths` counts the
    processes in a row that died at work on it, without a new checkpoint in between."""

    job_id: str
    idempotency_key: str
    request: bytes
    bundle: str
    submitted: float
    deadline: float | None = None
    cancelled: bool = False
    finished: float | None = None
    fetched: bool = False
    result_nbytes: int = 0
    deaths: int = 0
    owner: str = ""
    video: VideoFormat | None = None
    bundle_name: str = ""


@dataclass(frozen=True)
class SegmentRow:
    """A segment whose frames are whole in the job's spool."""

    segment: int
    frames: int


@dataclass(frozen=True)
class CheckpointRow:
    """`file` holds the arrays that belong to `cursor`, where there are any."""

    cursor: Cursor
    file: str | None


_COLUMNS = (
    "job_id, idempotency_key, request, bundle, submitted, deadline, cancelled, finished, fetched, "
    "result_nbytes, deaths, owner, video, bundle_name"
)
_NEW_STATE = "UPDATE jobs SET state = ? WHERE job_id = ? AND state <> ?"


class Store:
    """All of it is on disk when a method returns. Methods that write raise StorageFullError, and
    then have changed nothing."""

    def __init__(self, path: Path, durable: bool = True) -> None:
        """Raises InputError for a file of another kind or version."""
        self._database = Database(path, durable)
        self.origins = OriginRows(self._database)
        self.bundles = BundleRows(self._database)
        self._at_work: set[str] = set()

    def add(self, job: StoredJob, labels: Mapping[str, str]) -> None:
        with self._database.writing() as connection:
            arrival = connection.execute(
                f"INSERT INTO jobs ({_COLUMNS}) "
                "VALUES (?, ?, ?, ?, ?, ?, 0, NULL, 0, 0, 0, ?, ?, ?)",
                (
                    *(job.job_id, job.idempotency_key, job.request),
                    *(job.bundle, job.submitted, job.deadline, job.owner),
                    *(_video_message(job), job.bundle_name),
                ),
            ).lastrowid
            connection.executemany(
                "INSERT INTO labels VALUES (?, ?, ?)",
                [(key, value, arrival) for key, value in labels.items()],
            )

    def remove(self, job_id: str) -> None:
        with self._database.writing() as connection:
            connection.execute("DELETE FROM jobs WHERE job_id = ?", (job_id,))

    def jobs(self) -> list[StoredJob]:
        """All of them, in the order of their arrival."""
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM jobs ORDER BY arrival").fetchall()
        return [_job(*row) for row in rows]

    def know_state(self, job_id: str, state: JobState) -> None:
        """The state of a job that was stored before states were."""
        with self._database.writing() as connection:
            connection.execute(_NEW_STATE, (state, job_id, state))

    @property
    def index(self) -> JobIndex:
        return JobIndex(self._database)

    def cancel(self, job_id: str) -> None:
        """Remember that the job was cancelled, should it not end in this process."""
        self._set(job_id, "cancelled = 1")

    def is_cancelled(self, job_id: str) -> bool:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT cancelled FROM jobs WHERE job_id = ?", (job_id,)
            ).fetchone()
        return bool(row and row[0])

    def mark_fetched(self, job_id: str) -> None:
        self._set(job_id, "fetched = 1")

    def _set(self, job_id: str, assignment: str) -> None:
        with self._database.writing() as connection:
            connection.execute(f"UPDATE jobs SET {assignment} WHERE job_id = ?", (job_id,))

    def begin_work(self, job_id: str) -> None:
        """A unit of the job begins. If the process dies before its next event, or `end_work`, the
        job is to blame."""
        self._set(job_id, "at_work = 1")
        self._at_work.add(job_id)

    def end_work(self, job_id: str) -> None:
        """Never raises, and does nothing where an event has said as much."""
        if job_id in self._at_work:
            with suppress(WanTrtError):  # blamed without need, if the process dies now
                self._set(job_id, "at_work = 0")
            self._at_work.discard(job_id)

    def count_deaths(self) -> None:
        """The process before died: blame the jobs that it was at work on."""
        with self._database.writing() as connection:
            connection.execute("UPDATE jobs SET deaths = deaths + 1, at_work = 0 WHERE at_work")

    def forgive_deaths(self) -> None:
        """This process ends as it should."""
        with self._database.writing() as connection:
            connection.execute("UPDATE jobs SET deaths = 0, at_work = 0 WHERE deaths OR at_work")

    def add_event(self, event: Event, result_nbytes: int = 0) -> None:
        """With a final one the job is finished: it needs no checkpoint any more."""
        message = event_to_wire(event).SerializeToString()
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO events VALUES (?, ?, ?)", (event.job_id, event.sequence, message)
            )
            connection.execute(_NEW_STATE, (event.state, event.job_id, event.state))
            if event.job_id in self._at_work:
                connection.execute("UPDATE jobs SET at_work = 0 WHERE job_id = ?", (event.job_id,))
            if event.state.final:
                nbytes = result_nbytes if event.state is JobState.DONE else 0
                connection.execute(
                    "UPDATE jobs SET finished = ?, result_nbytes = ? WHERE job_id = ?",
                    (time.time(), nbytes, event.job_id),
                )
                for table in ("checkpoints", "segments"):
                    connection.execute(f"DELETE FROM {table} WHERE job_id = ?", (event.job_id,))
        self._at_work.discard(event.job_id)

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        """Those with a higher sequence number, in their order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT message FROM events WHERE job_id = ? AND sequence > ? ORDER BY sequence",
                (job_id, after),
            ).fetchall()
        return [event_from_wire(wire.Event.FromString(message)) for (message,) in rows]

    def latest(self, job_id: str) -> Event | None:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT message FROM events WHERE job_id = ? ORDER BY sequence DESC LIMIT 1",
                (job_id,),
            ).fetchone()
        return None if row is None else event_from_wire(wire.Event.FromString(row[0]))

    def keep(self, job_id: str, checkpoint: CheckpointRow, segments: Iterable[SegmentRow]) -> None:
        """Replace the job's checkpoint, and add the segments that are finished since the one
        before: both or neither."""
        cursor = checkpoint.cursor
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)",
                (job_id, cursor.segment, cursor.stage.value, cursor.step, checkpoint.file),
            )
            connection.execute("UPDATE jobs SET deaths = 0 WHERE job_id = ?", (job_id,))
            connection.executemany(
                "INSERT INTO segments VALUES (?, ?, ?)",
                [(job_id, row.segment, row.frames) for row in segments],
            )

    def checkpoint(self, job_id: str) -> CheckpointRow | None:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT segment, stage, step, file FROM checkpoints WHERE job_id = ?", (job_id,)
            ).fetchone()
        if row is None:
            return None
        segment, stage, step, file = row
        return CheckpointRow(Cursor(segment, Stage(stage), step), file)

    def segments(self, job_id: str) -> list[SegmentRow]:
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT segment, frames FROM segments WHERE job_id = ? ORDER BY segment", (job_id,)
            ).fetchall()
        return [SegmentRow(*row) for row in rows]

    def costs(self, bundle: str) -> CostRows:
        """What units of work took with a bundle."""
        return CostRows(self._database, bundle)

    def close(self) -> None:
        self._database.close()


def _job(
    job_id: str,
    idempotency_key: str,
    request: bytes,
    bundle: str,
    submitted: float,
    deadline: float | None,
    cancelled: int,
    finished: float | None,
    fetched: int,
    result_nbytes: int,
    deaths: int,
    owner: str,
    video: bytes | None,
    bundle_name: str,
) -> StoredJob:
    """A row; SQLite knows no booleans."""
    return StoredJob(
        job_id,
        idempotency_key,
        request,
        bundle,
        submitted,
        deadline,
        bool(cancelled),
        finished,
        bool(fetched),
        result_nbytes,
        deaths,
        owner,
        None if video is None else video_from_wire(wire.VideoFormat.FromString(video)),
        bundle_name,
    )


def _video_message(job: StoredJob) -> bytes | None:
    return None if job.video is None else video_to_wire(job.video).SerializeToString()
