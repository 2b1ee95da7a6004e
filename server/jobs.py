"""The registry of jobs: submissions in, records out.

    DATA/uploads/...            see uploads.py
    DATA/jobs/<id>/result.mp4   or result.safetensors

It lives in memory: a server that is started again knows none of its earlier jobs, and of finished
jobs only the last so many are known, though the results of all stay in the folder.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import deque
from dataclasses import replace
from pathlib import Path

from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import NotFoundError, ResourceError, WanTrtError
from wan_trt.engine.frames import FrameSink
from wan_trt.engine.request import Event
from wan_trt.server.errors import UnavailableError
from wan_trt.server.idempotency import OncePerKey
from wan_trt.server.job_record import JobRecord
from wan_trt.server.opened import OpenedSubmission, open_submission
from wan_trt.server.submission import Submission
from wan_trt.server.uploads import Uploads


class Jobs:
    """All jobs of one server; safe to use from any thread."""

    def __init__(
        self,
        engine: Engine,
        uploads: Uploads,
        folder: Path,
        max_unfinished: int,
        remembered: int,
    ) -> None:
        """`folder` gets one folder a job; at most `max_unfinished` jobs wait or run, and the last
        `remembered` that are over are known, with their events and idempotency keys."""
        self._engine = engine
        self._uploads = uploads
        self._folder = folder
        self._max_unfinished = max_unfinished
        self._remembered = remembered
        self._lock = threading.Lock()
        self._records: dict[str, JobRecord] = {}
        self._unfinished: set[str] = set()
        self._finished: deque[JobRecord] = deque()  # the first is the next to be forgotten
        self._by_key: OncePerKey[JobRecord] = OncePerKey()
        self._refusal: UnavailableError | None = None

    def submit(self, submission: Submission, content: bytes) -> JobRecord:
        """Check a submission and queue its job. `content` tells requests with one key apart.

        Raises InputError for what cannot be done, ResourceError when too many jobs wait,
        UnavailableError once the server is stopping.
        """
        return self._by_key.run(
            submission.idempotency_key, content, lambda: self._start(submission)
        )

    def get(self, job_id: str) -> JobRecord:
        """Raises NotFoundError."""
        with self._lock:
            if job_id in self._records:
                return self._records[job_id]
        raise NotFoundError(
            f"no job {job_id[:100]!r}",
            expected="an id that Submit returned since this server was started",
            action="check it; old jobs are forgotten",
            field="job_id",
        )

    def cancel(self, job_id: str) -> JobRecord:
        """Have the engine end a job; one that is over stays as it is. Raises NotFoundError."""
        record = self.get(job_id)
        if not record.latest.state.final:
            self._engine.cancel(job_id)
        return record

    def refuse(self, error: UnavailableError) -> None:
        """Answer every further submission with `error`."""
        with self._lock:
            self._refusal = error

    def unfinished(self) -> list[JobRecord]:
        """Jobs that wait or run."""
        with self._lock:
            return [self._records[i] for i in self._unfinished if i in self._records]

    def fail_unfinished(self, error: WanTrtError) -> None:
        """End all jobs in an engine that can no longer do it."""
        for record in self.unfinished():
            record.fail(error)
        with self._lock:
            self._unfinished.clear()

    def _start(self, submission: Submission) -> JobRecord:
        job_id = uuid.uuid4().hex
        self._reserve(job_id)
        try:
            opened = open_submission(submission, self._uploads, self._engine.bundle.manifest.model)
            try:
                return self._queue(job_id, submission, opened)
            except BaseException:
                opened.close()
                raise
        except BaseException as error:
            with self._lock:
                self._unfinished.discard(job_id)
            if isinstance(error, WanTrtError):
                raise self._uploads.retell(error) from error
            raise

    def _reserve(self, job_id: str) -> None:
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if len(self._unfinished) >= self._max_unfinished:
                raise ResourceError(
                    f"{len(self._unfinished)} jobs wait already",
                    action="try again when some are done, or use another server",
                )
            self._unfinished.add(job_id)

    def _queue(self, job_id: str, submission: Submission, opened: OpenedSubmission) -> JobRecord:
        folder = self._folder / job_id
        path = folder / f"result{opened.output_format.suffix}"
        record = JobRecord(job_id, opened.output_format, path, submission.idempotency_key)

        def open_sink() -> FrameSink:
            folder.mkdir(parents=True)
            return opened.open_sink(record.path)

        try:
            self._engine.submit(
                opened.request, open_sink, lambda event: self._note(record, opened, event), job_id
            )
        except BaseException:
            with contextlib.suppress(OSError):  # nothing is there before the sink is opened
                folder.rmdir()
            raise
        return record

    def _note(self, record: JobRecord, opened: OpenedSubmission, event: Event) -> None:
        """Take an event from the engine; the first one makes the job known, the last frees it."""
        if isinstance(event.error, WanTrtError):
            event = replace(event, error=self._uploads.retell(event.error))
        if event.state.final:
            opened.close()
            with contextlib.suppress(OSError):  # stays where there is a result
                record.path.parent.rmdir()
        record.add(event)
        with self._lock:
            self._records[record.job_id] = record
            if event.state.final:
                self._unfinished.discard(record.job_id)
                self._finished.append(record)
            while len(self._finished) > self._remembered:
                forgotten = self._finished.popleft()
                del self._records[forgotten.job_id]
                self._by_key.forget(forgotten.idempotency_key)
