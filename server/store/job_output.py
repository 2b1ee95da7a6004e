"""Where the engine puts what it makes of a job: frames, checkpoints, in the end the result.

The order is that of a transaction: first files under their names, then the row that counts them,
then the files of before are removed. What a crash leaves between is removed at the next start.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.checkpoint import Checkpoint
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.server.job_record import JobRecord
from wan_trt.server.opened import OpenedSubmission
from wan_trt.server.store.checkpoint_file import read_checkpoint, write_checkpoint
from wan_trt.server.store.job_folder import JobFolder
from wan_trt.server.store.result_writer import ResultWriter
from wan_trt.server.store.room import Room
from wan_trt.server.store.spool import Spool
from wan_trt.server.store.store import Store


class JobOutput:
    """A FrameSink and a Checkpoints. Raises StorageFullError where there is no room now."""

    def __init__(
        self,
        opened: OpenedSubmission,
        record: JobRecord,
        folder: JobFolder,
        store: Store,
        room: Room,
        every_steps: int,
        encode_beside: bool,
        suspected: bool = False,
    ) -> None:
        """What the store knows of the job is taken up, what lies in its folder besides removed."""
        self.every_steps = every_steps
        self.suspected = suspected
        self._record = record
        self._job_id = record.job_id
        self._folder = folder
        self._store = store
        self._room = room
        self._kept = store.checkpoint(record.job_id)
        self._spool = Spool(folder, opened.spool_format, room, store.segments(record.job_id))
        self._result = ResultWriter(
            self._spool, lambda: opened.open_result(record.path), encode_beside
        )
        self._clean()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The one that the job goes on from."""
        return None if self._kept is None else read_checkpoint(self._folder.path, self._kept)

    def write_latents(self, segment: int, latents: NDArray[np.float32]) -> None:
        self._spool.begin(segment, latents)

    def write(self, frames: NDArray[np.float32]) -> None:
        self._spool.write(frames)

    def begin_work(self) -> None:
        self._store.begin_work(self._job_id)

    def end_work(self) -> None:
        self._store.end_work(self._job_id)

    def save(self, checkpoint: Checkpoint) -> None:
        at = checkpoint.cursor
        decoded = self._spool.unfinished is not None and (
            at.segment > self._spool.unfinished or at.stage is Stage.RESULT
        )
        rows = [self._spool.finish()] if decoded else []
        kept = write_checkpoint(self._folder, self._kept, checkpoint, self._room)
        self._store.keep(self._job_id, kept, rows)
        self.suspected = False
        for row in rows:
            self._spool.accept(row)
            self._record.add_segment(row)
        before, self._kept = self._kept, kept
        if before is not None and before.file is not None:
            (self._folder.path / before.file).unlink()
        if rows:
            with self._room.waiting():
                self._result.catch_up()

    def close(self) -> None:
        with self._room.waiting():
            self._result.close()

    def abort(self) -> None:
        """Let go of what is open. What is complete stays until the job is over."""
        self._spool.discard()
        self._result.abort()

    def _clean(self) -> None:
        inputs = [f"inputs/{path.name}" for path in self._folder.inputs.iterdir()]
        kept = [] if self._kept is None or self._kept.file is None else [self._kept.file]
        self._folder.keep_only([*inputs, *kept, *self._spool.names()])
