"""Writes a job's result from its spool: beside the engine, while segments are completed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from wan_trt.media import PixelWriter
from wan_trt.media.tensor_writer import TensorWriter
from wan_trt.server.store.spool import Spool

ResultFile = TensorWriter | PixelWriter


class ResultWriter:
    """Follows a spool. The result appears under its name at `close`.

    Encoding takes processors, so it has a thread of its own and the engine does not wait for it.
    What lies between the two is the spool, on the disk: a slow encoder takes no memory.
    """

    def __init__(
        self, spool: Spool, open_file: Callable[[], ResultFile], beside: bool = True
    ) -> None:
        """Without `beside` there is no thread: what is written is written by whoever calls."""
        self._spool = spool
        self._open_file = open_file
        self._beside = beside
        self._file: ResultFile | None = None
        self._written = 0
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None
        self._unwanted = threading.Event()

    def catch_up(self) -> None:
        """Let the segments be written that were completed since. Raises what went wrong with those
        before; the next call begins with the first one."""
        if not self._beside:
            self._write()
            return
        if self._under_way is not None and not self._under_way.done():
            return  # it sees them too, or the next call does
        self._join()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="result")
        self._under_way = self._thread.submit(self._write)

    def close(self) -> None:
        """All segments are complete: so is the result then."""
        try:
            self._join()
            self._write()
            assert self._file is not None, "it was opened to be written"
            self._file.close()
        finally:
            self.abort()

    def abort(self) -> None:
        """Drop what is not finished."""
        self._unwanted.set()
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = self._under_way = None
        self._unwanted.clear()
        self._drop()

    def _join(self) -> None:
        """Wait for what is under way, and raise what went wrong with it."""
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file, self._written = self._open_file(), 0
            while self._written < len(self._spool.segments):
                row = self._spool.segments[self._written]
                for frames in self._spool.read(row):
                    if self._unwanted.is_set():
                        return
                    self._file.write(frames)
                if isinstance(self._file, TensorWriter) and self._spool.form.with_latents:
                    self._file.add(f"latents.{row.segment}", self._spool.latents(row.segment))
                self._written += 1
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._file is not None:
            self._file.abort()
            self._file = None
