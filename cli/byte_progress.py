"""A bar for work that is counted in bytes."""

from __future__ import annotations

import shutil
import time
from typing import TextIO

from wan_trt.cli.progress import bar, clock

_CLEAR_TO_END = "\x1b[K"
_REDRAWN_S = 0.1


class ByteProgress:
    """A bar with bytes, rate and remaining time; on a terminal only.

    [########................] 1.20/3.30 GB  181 MB/s  ETA 0:12  denoiser blocks.1.ffn.0.weight
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._moves = stream.isatty()
        self._start = time.monotonic()
        self._drawn = 0.0

    def show(self, done_nbytes: int, total_nbytes: int, text: str = "") -> None:
        """Draw the bar again; all done ends the line."""
        now = time.monotonic()
        final = done_nbytes == total_nbytes
        if not self._moves or (now - self._drawn < _REDRAWN_S and not final):
            return
        self._drawn = now
        line = _line(done_nbytes, total_nbytes, now - self._start, text)
        columns = shutil.get_terminal_size().columns
        end = "\n" if final else ""
        self._stream.write(f"\r{line[: columns - 1]}{_CLEAR_TO_END}{end}")
        self._stream.flush()


def _line(done: int, total: int, elapsed_s: float, text: str) -> str:
    rate = done / max(elapsed_s, 1e-6)
    left = clock((total - done) / rate) if rate else "?"
    share = done / total if total else 1.0
    amounts = f"{done / 1e9:.2f}/{total / 1e9:.2f} GB  {rate / 1e6:.0f} MB/s"
    return f"{bar(share)} {amounts}  ETA {left}  {text}".rstrip()
