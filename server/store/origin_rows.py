"""Which call each job came from: for the log lines and spans of later processes."""

from __future__ import annotations

from wan_trt.server.store.database import Database
from wan_trt.server.telemetry.context import Work


class OriginRows:
    """A row goes when its job does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, job_id: str, work: Work) -> None:
        """Raises StorageFullError. Work of no call is not kept."""
        if not work.request_id:
            return
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO origins SELECT job_id, ?, ? FROM jobs WHERE job_id = ?",
                (work.request_id, work.traceparent, job_id),
            )

    def of(self, job_id: str, owner: str) -> Work:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT request_id, traceparent FROM origins WHERE job_id = ?", (job_id,)
            ).fetchone()
        request_id, traceparent = row or ("", "")
        return Work(request_id, job_id, owner, traceparent)
