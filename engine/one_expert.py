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

from wan_trt.engine.backend import Backend
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executors import Executors
from wan_trt.engine.lanes import Lane
from wan_trt.engine.memory.footprint import expert_nbytes
from wan_trt.engine.registry import JobRegistry
from wan_trt.engine.scheduling.decision import Decision
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


class ExpertSwitch:
    """Does what a decision says of experts."""

    def __init__(
        self, bundle: Bundle, backend: Backend, executors: Executors, registry: JobRegistry
    ) -> None:
        self._bundle = bundle
        self._backend = backend
        self._executors = executors
        self._registry = registry
        self.read_ahead = ReadAhead()

    def load_all(self) -> None:
        """Load all graphs, and keep the experts that fit. Raises BundleError or ResourceError."""
        one = one_expert(self._bundle, self._backend.experts_nbytes) is not None
        self._executors.load_all(one)

    def bring(self, decision: Decision) -> None:
        """Before the decision's unit: make room for the expert that it loads, and begin to read
        the other one's files."""
        if (expert := decision.load) is not None:
            self._backend.spaces[Lane.DENOISING].wait()  # the last step may still run
            for job in self._registry.live():
                if (tensors := job.tensors) is not None:  # it may end beside
                    tensors.denoiser.keep_only(expert)
            self._executors.keep_only(expert)
        if (expert := decision.prefetch) is not None:
            self.read_ahead.begin(self._bundle.expert_files(expert))


def _read(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        except OSError:
            return  # whoever needs the file will say what is wrong with it
