"""The CPU as a backend: numpy arrays in pages of the host, graphs by ONNX Runtime."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.backend import StepTensors
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import Executor
from wan_trt.engine.executors import Load
from wan_trt.engine.graph_run import GraphRun
from wan_trt.engine.lanes import APART, Lane
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.host import HostPages, array_at
from wan_trt.engine.memory.host_stores import FileStore
from wan_trt.engine.memory.pages import PAGE_NBYTES
from wan_trt.engine.memory.parking import Parking
from wan_trt.engine.memory.tensors import TensorMemory
from wan_trt.engine.noise import SeededNoise
from wan_trt.engine.ort import load_executor
from wan_trt.engine.processor import describe_processor
from wan_trt.engine.solver import History, StepCoefficients
from wan_trt.engine.threads import available_threads

_PARKED_MOST_NBYTES = 1 << 40  # the disk's room is what counts


class HostSpace:
    """A `Space` of numpy arrays."""

    stream: int | None = None

    def at(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        return array_at(address, shape, dtype)

    def write(self, tensor: Any, values: NDArray[Any]) -> None:
        """See `Space.write`."""
        _require_shape(tensor, values)
        np.copyto(tensor, values, casting="same_kind")

    def copy(self, target: Any, source: Any) -> None:
        _require_shape(target, source)
        np.copyto(target, source, casting="no")

    def read(self, tensor: Any) -> NDArray[Any]:
        return np.array(tensor)

    def wait(self) -> None:
        """All is done already."""

    def mark(self, event: int | None = None) -> int | None:
        return event

    def wait_for(self, event: int | None) -> None:
        assert event is None, "a host has no events"

    def settle(self, event: int | None) -> None:
        """All is done already."""

    def forget(self, event: int | None) -> None:
        """There are none."""

    def pace(self) -> None:
        """All is done already."""


def _require_shape(target: NDArray[Any], values: NDArray[Any]) -> None:
    """numpy would repeat what is too small."""
    if target.shape != values.shape:
        raise ValueError(f"values of {values.shape} do not fit a tensor of {target.shape}")


class HostUpdate:
    """An `Update` by `History.advance`. The history lies in the job's tensors, so that it moves
    with them."""

    def __init__(self, tensors: StepTensors[Any]) -> None:
        self._tensors = tensors
        self.begin_segment()

    def begin_segment(self, done: int = 0) -> None:
        self.done = done
        self.first_bad_step: int | None = None
        self._guidance = 1.0
        self._coefficients: StepCoefficients | None = None

    def write(
        self,
        timestep: int,
        coefficients: StepCoefficients,
        guidance: float,
        stream: int | None = None,
    ) -> None:
        assert stream is None, "a host has no streams"
        self._tensors.block[0] = timestep
        self._coefficients, self._guidance = coefficients, guidance

    def enqueue(self, stream: int | None = None) -> None:
        assert self._coefficients is not None, "the numbers of a step are written before it runs"
        assert stream is None, "a host has no streams"
        t = self._tensors
        velocity = t.conditional
        if self._guidance != 1 and t.unconditional is not None:
            scale = np.float32(self._guidance)
            velocity = t.unconditional + scale * (t.conditional - t.unconditional)
        history = History(t.sample if self.done else None, [t.newest, t.older][: self.done])
        history.advance(self._coefficients, t.latents, velocity)
        t.older[...] = t.newest
        t.newest[...] = history.models[0]
        t.sample[...] = history.sample
        if self.first_bad_step is None and not np.isfinite(t.latents).all():
            self.first_bad_step = self.done
        self.done += 1

    def close(self) -> None:
        """There is nothing beside the job's tensors."""


class HostBackend:
    """A `Backend` on this machine's processor and memory."""

    def __init__(
        self,
        threads: int | None = None,
        load: Load | None = None,
        memory_nbytes: int | None = None,
        experts_nbytes: int | None = None,
        lanes: tuple[Lane, ...] = APART,
    ) -> None:
        """`threads` for each graph, None: all cores that the process may use. Graphs are loaded
        by `load(bundle, graph, weight_set)`, or by ONNX Runtime where that is None. Tensors have
        `memory_nbytes` at most, None: as much as the machine has; what is parked for want of it
        lies in a file of the folder for temporary files. Of the experts no more than
        `experts_nbytes` of weights are loaded at a time, None: both. `lanes` is `APART` or
        `TOGETHER`."""
        self.experts_nbytes = experts_nbytes
        self.name = f"{describe_processor()}, {threads or available_threads()} threads"
        self.lanes = lanes
        space = HostSpace()
        self.spaces: Mapping[Lane, HostSpace] = dict.fromkeys(APART, space)
        nbytes = memory_nbytes or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.memory = TensorMemory(Arena(HostPages(), nbytes // PAGE_NBYTES), space)
        self._load = load or partial(load_executor, threads=threads)

    @cached_property
    def parking(self) -> Parking:
        """Made when it is first needed: it opens a file."""
        store = FileStore(Path(tempfile.gettempdir()))
        return Parking(self.memory.arena, store, _PARKED_MOST_NBYTES)

    def require_served(self, runs: Iterable[GraphRun]) -> None:
        """Every size runs."""

    def load(self, bundle: Bundle, graph: str, weight_set: str) -> Executor:
        return self._load(bundle, graph, weight_set)

    def new_update(self, tensors: StepTensors[Any]) -> HostUpdate:
        return HostUpdate(tensors)

    def draw_noise(self, seed: int, segment: int, out: Any) -> None:
        self.memory.space.write(out, SeededNoise(seed).segment(segment, out.shape))

    def make_current(self) -> None:
        """Any thread may use the host."""

    def close(self) -> None:
        if "parking" in vars(self):
            self.parking.close()
        self.memory.close()
