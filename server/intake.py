"""Hands accepted jobs to the engine: new ones, and those of an earlier process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from wan_trt.engine.bundle import sha256_file
from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import CancelledError, ExecutionError, MediaError
from wan_trt.engine.frames import FrameSink
from wan_trt.engine.request import Event
from wan_trt.server.driven import DrivenSubmission
from wan_trt.server.job_options import JobOptions
from wan_trt.server.job_record import JobRecord
from wan_trt.server.opened import OpenedSubmission, open_submission
from wan_trt.server.preparing import DrivenJob, Preparing
from wan_trt.server.store.data_folder import DataFolder
from wan_trt.server.store.job_output import JobOutput
from wan_trt.server.store.room import Room
from wan_trt.server.store.store import StoredJob
from wan_trt.server.submission import Submission
from wan_trt.server.uploads import Uploads

OnEvent = Callable[[JobRecord, Event], None]
Accept = Callable[[OpenedSubmission], None]


def _accepted(_: OpenedSubmission) -> None:
    """It was accepted before."""


class Intake:
    """Opens what a job needs and closes it when the job is over."""

    def __init__(
        self,
        engine: Engine,
        data: DataFolder,
        uploads: Uploads,
        room: Room,
        options: JobOptions,
        on_event: OnEvent,
    ) -> None:
        """`on_event` gets the events of all jobs."""
        self._engine = engine
        self._data = data
        self._uploads = uploads
        self._room = room
        self._options = options
        self._on_event = on_event
        self._preparing = Preparing(data.store, self._tell, self._hand_over, engine.cancel)
        self._opened: dict[str, OpenedSubmission] = {}
        self._lock = threading.Lock()

    def begin(self, stored: StoredJob, record: JobRecord, submission: Submission) -> None:
        """Accept a job if it can be done: it is in the store before the engine has it. Raises
        InputError, and then nothing of it stays."""
        folder = self._data.job(stored.job_id)

        def accept(opened: OpenedSubmission) -> None:
            opened.open_result(record.path).abort()  # so that it fails now, not at the end
            folder.seal()
            record.video = opened.video
            self._data.store.add(replace(stored, video=opened.video), submission.labels)

        try:
            with self._room.waiting():
                folder.create()
                inputs = {
                    name: folder.take_input(self._uploads.path(upload_id, name, stored.owner))
                    for name, upload_id in submission.media.items()
                }
            self._take(stored, record, inputs, accept)
        except BaseException:
            self._data.store.remove(stored.job_id)
            folder.remove()
            raise

    def resume(self, stored: StoredJob, record: JobRecord, submission: Submission) -> None:
        """Let a job of this bundle go on from its last checkpoint. Raises CancelledError for one
        that was cancelled, MediaError where an input is not what it was, ExecutionError for one
        that would only kill another process."""
        self._require_attempts(stored)
        if stored.cancelled:
            raise CancelledError(f"job {stored.job_id} was cancelled")
        folder = self._data.job(stored.job_id)
        inputs = {
            name: _checked_input(folder.inputs / upload_id, name)
            for name, upload_id in submission.media.items()
        }
        self._take(stored, record, inputs, _accepted)

    def cancel(self, job_id: str) -> None:
        """End a job that is begun, wherever it is."""
        if not self._preparing.cancel(job_id):
            self._engine.cancel(job_id)

    def tidy(self) -> None:
        """End what waits to be prepared, and is out of time."""
        self._preparing.end_waiting()

    def stop_preparing(self, suspend: bool) -> None:
        """Before the engine is closed; see `Preparing.stop`."""
        self._preparing.stop(suspend)

    def _tell(self, record: JobRecord, event: Event) -> None:
        if event.state.final:
            self._close(record.job_id)
        self._on_event(record, event)

    def _close(self, job_id: str) -> None:
        """The engine is done with the job."""
        with self._lock:
            opened = self._opened.pop(job_id, None)
        if opened is not None:
            opened.close()

    def close_all(self) -> None:
        """The engine is done with all jobs."""
        for job_id in list(self._opened):
            self._close(job_id)

    def _require_attempts(self, stored: StoredJob) -> None:
        if stored.deaths >= self._options.attempts:
            raise ExecutionError(
                f"job {stored.job_id} was being worked on when the server's process died, "
                f"{stored.deaths} times in a row without a checkpoint in between",
                action="see whether the machine was out of memory, or its driver failed; "
                "then submit it again, or something smaller",
            )

    def _take(
        self,
        stored: StoredJob,
        record: JobRecord,
        inputs: Mapping[str, Path],
        accept: Accept,
    ) -> None:
        """Open a job and let it go on its way; `accept` is called when it is valid."""
        submission, manifest = record.submission, self._engine.bundle.manifest
        media = self._options.media.reader()
        if submission.video is None:
            opened = open_submission(submission, inputs, manifest.model, media)
            try:
                self._hand_over(stored, record, opened, accept)
            except BaseException:
                opened.close()
                raise
            return
        driven = DrivenSubmission(submission, inputs, manifest, self._options.networks, media)
        try:
            accept(driven.expected)
        except BaseException:
            driven.close()
            raise
        self._preparing.add(DrivenJob(stored, record, driven))

    def _hand_over(
        self,
        stored: StoredJob,
        record: JobRecord,
        opened: OpenedSubmission,
        accept: Accept = _accepted,
    ) -> None:
        """Submit a job to the engine, to begin or to go on. Where this raises, `opened` stays
        open."""
        output = JobOutput(
            opened,
            record,
            self._data.job(stored.job_id),
            self._data.store,
            self._room,
            self._options.checkpoint_steps if self._data.durable else 0,
            self._options.encode_beside,
            suspected=stored.deaths > 0,
        )

        def open_sink() -> FrameSink:
            accept(opened)
            with self._lock:
                self._opened[stored.job_id] = opened
            return output

        try:
            self._engine.submit(
                opened.request,
                open_sink,
                lambda event: self._tell(record, event),
                stored.job_id,
                keep=output,
                resume=output.checkpoint,
                deadline=stored.deadline,
                owner=stored.owner,
                priority=record.submission.priority,
            )
        except BaseException:  # it may be refused when its sink is open
            with self._lock:
                self._opened.pop(stored.job_id, None)
            raise


def _checked_input(path: Path, name: str) -> Path:
    """The file, if it is what was accepted: its name begins with its hash. Raises MediaError."""
    if not path.is_file() or sha256_file(path) != path.name[:64]:
        raise MediaError(
            f"{path} is not what was uploaded any more",
            expected="inputs that nobody changes",
            action="upload it and submit the job again",
            field=name,
        )
    return path
