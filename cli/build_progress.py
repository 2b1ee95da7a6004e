"""How a build's progress looks: a line for each phase of each engine, its steps on a terminal."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from wan_trt.plan.jobs import BuildProgress

_CLEAR_TO_END = "\x1b[K"


class BuildLine:
    """Shows what `wan_trt.plan.build.build` tells. Phases of TensorRT lie inside each other: each
    is named once, when it begins."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._moves = stream.isatty()
        self._engine = ""
        self._named: set[tuple[str, str]] = set()

    def show(self, progress: BuildProgress) -> None:
        where = f"{progress.engine}: " if progress.engine else ""
        if self._moves and progress.engine != self._engine:
            self._stream.write("\n")
        self._engine = progress.engine
        named = progress.engine, progress.phase
        if self._moves:
            steps = f" {progress.done}/{progress.total}" if progress.total > 1 else ""
            columns = shutil.get_terminal_size().columns
            line = f"{where}{progress.phase}{steps}"[: columns - 1]
            self._stream.write(f"\r{line}{_CLEAR_TO_END}")
        elif named not in self._named:
            self._stream.write(f"{where}{progress.phase}\n")
        self._named.add(named)
        self._stream.flush()
