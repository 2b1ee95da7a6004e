"""How the progress of preparing a video looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from wan_trt.cli.progress import bar

if TYPE_CHECKING:
    from wan_trt.preprocess.progress import Progress

_CLEAR_TO_END = "\x1b[K"
_LINES = 10


class PreparationLine:
    """A line that moves on a terminal, elsewhere ten lines a stage.

    poses  [######..................] 128/512
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._moves = stream.isatty()
        self._shown: tuple[str, int] | None = None

    def show(self, progress: Progress) -> None:
        share = progress.done / progress.total
        text = f"{progress.stage:8}{bar(share)} {progress.done}/{progress.total}"
        if self._moves:
            end = "\n" if progress.done == progress.total else ""
            self._stream.write(f"\r{text}{_CLEAR_TO_END}{end}")
        elif (progress.stage, int(_LINES * share)) != self._shown:
            self._stream.write(f"{text}\n")
        self._shown = progress.stage, int(_LINES * share)
        self._stream.flush()
