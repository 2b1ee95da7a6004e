"""How an export's progress looks: a line for each thing done, a bar where bytes are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from wan_trt.cli.byte_progress import ByteProgress

if TYPE_CHECKING:
    from wan_trt.export.progress import Progress


class ExportProgress:
    """Shows what `export_bundle` tells."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._stage = ""
        self._bar = ByteProgress(stream)

    def __call__(self, progress: Progress) -> None:
        if not progress.total_nbytes:
            self._stage = ""
            self._stream.write(f"{progress.text}\n")
            self._stream.flush()
            return
        if progress.stage != self._stage:
            self._stage, self._bar = progress.stage, ByteProgress(self._stream)
            self._stream.write(f"{progress.stage}: {progress.total_nbytes / 1e6:.1f} MB\n")
        self._bar.show(progress.done_nbytes, progress.total_nbytes, progress.text)
