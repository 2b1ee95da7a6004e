"""The loaded graphs of one bundle: each at most once, and only when needed."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import Executor
from wan_trt.engine.lanes import Lane, lane_of_graph
from wan_trt.engine.models import RUN_ONCE
from wan_trt.engine.planned import PlannedExecutor
from wan_trt.engine.request import ExpertName

Load = Callable[[Bundle, str, str], Executor]


class Executors:
    """Executors by graph and weight set: experts with the same weights share one.

    Two threads may use it, each for the graphs of its lane (`of`): none waits while the other
    loads, and none loads what the other does.
    """

    def __init__(self, bundle: Bundle, load: Load) -> None:
        """`load(bundle, graph, weight_set)` makes an executor."""
        self._bundle = bundle
        self._load = load
        self._loaded: dict[tuple[str, str], Executor] = {}
        self._lane = Lane.EVERY
        self._seconds: defaultdict[str, float] = defaultdict(float)  # of loading, by graph

    def of(self, lane: Lane) -> Executors:
        """The same, as one lane's stages see it: `get` refuses the graphs of the other, and
        `loading_s` is the lane's own."""
        part = copy.copy(self)
        part._lane = lane
        return part

    @property
    def loading_s(self) -> float:
        """Seconds spent on loading so far: no part of what a unit of work costs."""
        graphs = list(self._seconds)  # the other lane may add its own
        return sum(self._seconds[g] for g in graphs if lane_of_graph(g) in self._lane.parts)

    def get(self, graph: str, expert: ExpertName | None = None) -> Executor:
        """The executor of `graph` for `expert` (None for graphs that all share), loaded now if
        it is not. Raises BundleError or ResourceError."""
        if graph not in self._bundle.manifest.graphs:
            raise BundleError(
                f"the bundle has no graph {graph}", action="export the bundle with this version"
            )
        assert lane_of_graph(graph) in self._lane.parts, f"{graph} is not of lane {self._lane}"
        key = graph, self._bundle.weight_set(graph, expert)
        if key not in self._loaded:
            started = time.perf_counter()
            executor = self._load(self._bundle, *key)
            self._count(graph, time.perf_counter() - started)
            if isinstance(executor, PlannedExecutor):
                executor.count_seconds = partial(self._count, graph)
            self._loaded[key] = executor
        return self._loaded[key]

    def _count(self, graph: str, seconds: float) -> None:
        self._seconds[graph] += seconds

    def load_all(self, one_expert: bool) -> None:
        """Load every graph with each of its weights, a plan too where there is one: of several,
        that of the largest size. What is not kept is closed again: graphs that a job needs for a
        moment, and, for `one_expert` at a time, the low-noise one's: a job begins with the other.
        Raises as `get`."""
        graphs = set(self._bundle.manifest.graphs)
        for graph in sorted(graphs & RUN_ONCE):
            self._load_now(graph)
            self.release(graph)
        for expert in (ExpertName.LOW, ExpertName.HIGH):
            if one_expert:
                self.keep_only(expert)
            for graph in sorted(graphs - RUN_ONCE):
                self._load_now(graph, expert)

    def _load_now(self, graph: str, expert: ExpertName | None = None) -> None:
        executor = self.get(graph, expert)
        if isinstance(executor, PlannedExecutor):
            executor.load()

    def weight_set(self, graph: str, expert: ExpertName | None = None) -> str:
        """Which weights `get` would use: equal names mean equal results."""
        return self._bundle.weight_set(graph, expert)

    @property
    def loaded(self) -> tuple[tuple[str, str], ...]:
        """(graph, weight set) of everything in memory."""
        return tuple(self._loaded)

    def release(self, graph: str) -> None:
        """Close `graph` in all weight sets; it is loaded again when asked for."""
        for key in [key for key in self.loaded if key[0] == graph]:
            self._loaded.pop(key).close()

    def keep_only(self, expert: ExpertName) -> None:
        """Close what only the other expert needs. Nothing that was launched there still runs."""
        for graph, weight_set in self.loaded:
            if weight_set != self.weight_set(graph, expert):
                self._loaded.pop((graph, weight_set)).close()

    def close(self) -> None:
        for executor in self._loaded.values():
            executor.close()
        self._loaded.clear()
