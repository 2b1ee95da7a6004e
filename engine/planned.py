"""A graph by its plans where they serve the size, and otherwise by another executor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from wan_trt.engine.executor import Bindings, Executor, GraphSpec


@dataclass(frozen=True)
class PlannedBindings:
    """Bindings, and the executor that made them."""

    bindings: Bindings
    executor: Executor

    @property
    def inputs(self) -> Mapping[str, Any]:
        return self.bindings.inputs

    @property
    def outputs(self) -> Mapping[str, Any]:
        return self.bindings.outputs


class PlannedExecutor:
    """Two executors of one graph behind the contract; each is loaded when a size wants it."""

    def __init__(
        self,
        spec: GraphSpec,
        serves: Callable[[Mapping[str, int]], bool],
        open_plans: Callable[[], Executor],
        load_other: Callable[[], Executor],
        load_plan: Callable[[], None],
        on_close: Callable[[], None],
        loading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """`serves` says whether there is a plan for these values of the graph's symbols;
        `open_plans` makes their executor, which loads a plan when a size wants it; `load_plan`
        loads one now; `on_close` lets go of what plans have beside their executor; in `loading`
        plans are read, contexts made, and both closed (`CaptureGate.loading`)."""
        self.spec = spec
        self._serves = serves
        self._load = {True: open_plans, False: load_other}
        self._load_plan = load_plan
        self._on_close = on_close
        self._loading = loading
        self._loaded: dict[bool, Executor] = {}
        self.count_seconds: Callable[[float], None] = lambda _seconds: None
        """Told of the seconds that a `bind` took: plans are loaded there, and contexts made."""

    def load(self) -> None:
        """Load the plan of the largest size now, where the first `bind` would. Raises BundleError
        or ResourceError."""
        with self._loading():
            self._load_plan()

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, Any] | None = None
    ) -> PlannedBindings:
        """See `Executor.bind`."""
        planned = self._serves(sizes)
        started = time.perf_counter()
        try:
            with self._loading():
                if planned not in self._loaded:
                    self._loaded[planned] = self._load[planned]()
                executor = self._loaded[planned]
                return PlannedBindings(executor.bind(sizes, tensors), executor)
        finally:
            self.count_seconds(time.perf_counter() - started)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """See `Executor.launch`."""
        if not isinstance(bindings, PlannedBindings):
            raise ValueError("a planned executor launches its own bindings")
        bindings.executor.launch(bindings.bindings, stream)

    def close(self) -> None:
        """See `Executor.close`."""
        with self._loading():
            for executor in self._loaded.values():
                executor.close()
            self._loaded.clear()
            self._on_close()
