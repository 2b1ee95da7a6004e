"""Writes a job's result from its spool: while segments are completed, or at once."""

from __future__ import annotations

from collections.abc import Callable

from wan_trt.media import PixelWriter
from wan_trt.media.tensor_writer import TensorWriter
from wan_trt.server.store.spool import Spool

ResultFile = TensorWriter | PixelWriter


class ResultWriter:
    """Follows a spool. The result appears under its name at `close`."""

    def __init__(self, spool: Spool, open_file: Callable[[], ResultFile]) -> None:
        self._spool = spool
        self._open_file = open_file
        self._file: ResultFile | None = None
        self._written = 0

    def catch_up(self) -> None:
        """Write the segments that were completed since. After an error the next call begins
        with the first one."""
        try:
            if self._file is None:
                self._file, self._written = self._open_file(), 0
            for row in self._spool.segments[self._written :]:
                for frames in self._spool.read(row):
                    self._file.write(frames)
                if isinstance(self._file, TensorWriter) and self._spool.form.with_latents:
                    self._file.add(f"latents.{row.segment}", self._spool.latents(row.segment))
                self._written += 1
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """All segments are complete: so is the result then."""
        self.catch_up()
        assert self._file is not None, "it was opened to catch up"
        try:
            self._file.close()
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what is not finished."""
        if self._file is not None:
            self._file.abort()
            self._file = None
