"""The graphs of a bundle on a GPU: TensorRT where there is a plan, else ONNX Runtime.

A plan is used where the manifest has one for this model of GPU and this TensorRT, at the size that
is asked for. Graphs that are launched again and again are captured where a plan runs them.
"""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.capture import REPLAYED, CapturedExecutor
from wan_trt.engine.cuda.backend import CudaBackend, LoadOnGpu
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.executor import Executor
from wan_trt.engine.lanes import APART, Lane, lane_of_graph
from wan_trt.engine.memory.arena import Reservation
from wan_trt.engine.memory.pages import pages_for
from wan_trt.engine.plan_entry import PlanEntry
from wan_trt.engine.planned import PlannedExecutor

_log = logging.getLogger(__name__)


class PlanMemory:
    """What contexts of one lane's plans have in common, because no two run at a time: scratch, and
    streams beside the lane's.

    Scratch has addresses for what any plan needs, and pages for the largest that was asked for:
    they come as larger ones are used, and stay as long as the backend.
    """

    def __init__(self, backend: CudaBackend, lane: Lane, scratch_nbytes: int) -> None:
        """`scratch_nbytes` is what the largest plan needs."""
        self._backend = backend
        self._lane = lane
        self._most_nbytes = scratch_nbytes
        self._range: Reservation | None = None
        self._leased_nbytes = 0
        self._streams: list[int] = []

    def scratch(self, nbytes: int) -> int:
        """Address of `nbytes`. Raises ResourceError without room."""
        if nbytes > self._most_nbytes:
            most = self._most_nbytes
            raise ValueError(f"{nbytes} bytes of scratch, where plans said {most} at most")
        memory, page_nbytes = self._backend.memory, self._backend.memory.arena.page_nbytes
        if self._range is None:
            self._range = memory.reserve("scratch", self._most_nbytes)
        missing = pages_for(nbytes, page_nbytes) * page_nbytes - self._leased_nbytes
        if missing > 0:
            scratch, leased = self._range, self._leased_nbytes
            who = f"plans of {self._lane}"
            memory.with_room(lambda: memory.arena.lease(scratch, who, leased, missing))
            self._leased_nbytes += missing
        return self._range.address

    def auxiliary_streams(self, count: int) -> list[int]:
        device = self._backend.device
        while len(self._streams) < count:
            self._streams.append(device.new_stream())
            self._backend.resources.callback(device.destroy_stream, self._streams[-1])
        return self._streams[:count]


class GpuGraphs:
    """Loads executors for a `CudaBackend`."""

    def __init__(self, load_other: LoadOnGpu) -> None:
        """`load_other` serves what no plan does."""
        self._load_other = load_other
        self._plans: dict[tuple[Path, Lane], tuple[Any, PlanMemory]] = {}

    def load(self, bundle: Bundle, graph: str, weight_set: str, backend: CudaBackend) -> Executor:
        """See `Backend.load`."""

        load_other = partial(self._load_other, bundle, graph, weight_set, backend)
        built = plans_for(bundle, backend.device, tensorrt_version())
        mine = [plan for plan in built if (plan.graph, plan.weight_set) == (graph, weight_set)]
        if not mine:
            return load_other()
        plans, memory = self._plans_of(bundle, graph, backend)

        def serves(sizes: Mapping[str, int]) -> bool:
            return bool(plans.serves(graph, weight_set, sizes))

        def open_plans() -> Executor:
            _log.info("%s (%s) runs by its TensorRT plan", graph, weight_set)
            executor: Executor = plans.executor(graph, weight_set, memory)
            if graph in REPLAYED:
                return CapturedExecutor(executor, backend.device, graph)
            return executor

        return PlannedExecutor(
            bundle.manifest.graphs[graph].spec,
            serves,
            open_plans,
            partial(backend.memory.load_beside, load_other),
            load_plan=partial(plans.load, max(mine, key=_volume)),
            on_close=partial(plans.release, graph, weight_set),
            loading=backend.device.gate.loading,
        )

    def _plans_of(self, bundle: Bundle, graph: str, backend: CudaBackend) -> tuple[Any, PlanMemory]:
        """Of the graph's lane: nothing of TensorRT is used by two threads, and lanes whose work
        runs at the same time have scratch of their own."""
        lane = lane_of_graph(graph) if backend.lanes == APART else Lane.EVERY
        if (bundle.path, lane) not in self._plans:
            module = importlib.import_module("wan_trt.engine.tensorrt.plans")
            built = plans_for(bundle, backend.device, tensorrt_version())
            mine = [plan for plan in built if lane_of_graph(plan.graph) in lane.parts]
            largest = max(plan.scratch_nbytes for plan in mine)
            memory = PlanMemory(backend, lane.parts[0], largest)
            plans = module.Plans(bundle, backend.device, backend.memory.load_beside)
            self._plans[bundle.path, lane] = plans, memory
        return self._plans[bundle.path, lane]


def plans_for(bundle: Bundle, device: Device, tensorrt: str | None) -> tuple[PlanEntry, ...]:
    """A bundle's plans for this model of GPU and this version of TensorRT, None: none is here."""
    name = device.gpu.name
    return tuple(plan for plan in bundle.manifest.plans if plan.runs_on(name, tensorrt))


def _volume(plan: PlanEntry) -> int:
    """Orders the plans of one graph by their sizes."""
    return math.prod(values.best for values in plan.symbols.values())


def tensorrt_version() -> str | None:
    """Of the TensorRT that loads here; None where none does."""
    try:
        return str(importlib.import_module("tensorrt").__version__)
    except ImportError as error:
        _log.info("no TensorRT: %s", error)
        return None
