"""One expert at a time: where it is needed, and what brings the other one.

load       the resident expert's graphs are closed, then the other's are loaded as they are used
prefetch   beside the last steps of a group the host reads the other expert's files, so that
           they come from its memory, and not from the disk
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.memory.footprint import expert_nbytes
from wan_trt.engine.scheduling.experts import OneExpert

LOAD_NBYTES_PER_S = 1e9
"""A guess that is rather too slow: from a disk, not from the host's memory."""


def one_expert(bundle: Bundle, room_nbytes: int | None) -> OneExpert | None:
    """None where both experts fit into the room (None: it is not limited), or have the same
    weights."""
    experts = expert_nbytes(bundle.manifest)
    if room_nbytes is None or len(experts) == 1 or sum(experts.values()) <= room_nbytes:
        return None
    return OneExpert(max(experts.values()) / LOAD_NBYTES_PER_S)


class ReadAhead:
    """Has the system read files into the host's memory, beside other work."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def begin(self, paths: Sequence[Path]) -> None:
        """Nothing happens while an earlier one goes on, or where the system cannot do it: then the
        files are read when they are used."""
        if hasattr(os, "posix_fadvise") and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(
                target=_read, args=(tuple(paths),), name="read ahead", daemon=True
            )
            self._thread.start()

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()


def _read(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        except OSError:
            return  # whoever needs the file will say what is wrong with it
