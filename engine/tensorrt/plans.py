"""The engines of a bundle's plans on one GPU: each loaded when it is needed, and once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import call

import tensorrt as trt

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import BundleError
from wan_trt.engine.plan_entry import PlanEntry, find_plan
from wan_trt.engine.tensorrt.executor import Memory, TensorRtExecutor
from wan_trt.engine.tensorrt.logger import ErrorRecorder, process_logger
from wan_trt.engine.tensorrt.plan_file import load_engine

LoadBeside = Callable[[Callable[[], trt.ICudaEngine]], trt.ICudaEngine]


class Plans:
    """What a bundle has for this GPU and this TensorRT."""

    def __init__(self, bundle: Bundle, device: Device, load_beside: LoadBeside = call) -> None:
        """`load_beside` calls what loads an engine, with room made for it."""
        self._bundle = bundle
        self._load_beside = load_beside
        self._gpu = device.gpu.name
        self._logger = process_logger()
        self._runtime = trt.Runtime(self._logger)
        self._runtime.error_recorder = ErrorRecorder(self._logger)
        self._engines: dict[str, trt.ICudaEngine] = {}

    def executor(self, graph: str, weight_set: str, memory: Memory) -> TensorRtExecutor:
        """The executor of a graph: its engines are loaded by `bind`."""

        def engine_for(sizes: Mapping[str, int]) -> trt.ICudaEngine:
            return self.load(self._plan(graph, weight_set, sizes))

        spec = self._bundle.manifest.graphs[graph].spec
        return TensorRtExecutor(graph, spec, engine_for, memory, self._logger)

    def load(self, plan: PlanEntry) -> trt.ICudaEngine:
        """The plan's engine, loaded now if it is not."""
        if plan.file not in self._engines:
            self._engines[plan.file] = self._load_beside(
                lambda: load_engine(self._bundle, plan, self._runtime, self._logger)
            )
        return self._engines[plan.file]

    def release(self, graph: str, weight_set: str) -> None:
        """Let go of the engines of a graph; contexts that are still there keep theirs."""
        for plan in self._bundle.manifest.plans:
            if (plan.graph, plan.weight_set) == (graph, weight_set):
                self._engines.pop(plan.file, None)

    def serves(self, graph: str, weight_set: str, sizes: Mapping[str, int]) -> bool:
        """Whether there is a plan for these values of the graph's symbols."""
        return self._find(graph, weight_set, sizes) is not None

    def _find(self, graph: str, weight_set: str, sizes: Mapping[str, int]) -> PlanEntry | None:
        return find_plan(
            self._bundle.manifest.plans,
            *(graph, weight_set, sizes),
            *(self._gpu, trt.__version__),
        )

    def _plan(self, graph: str, weight_set: str, sizes: Mapping[str, int]) -> PlanEntry:
        plan = self._find(graph, weight_set, sizes)
        if plan is None:
            wanted = ", ".join(f"{name} {value}" for name, value in sorted(sizes.items()))
            raise BundleError(
                f"the bundle has no plan of {graph} ({weight_set}) for {wanted} on {self._gpu} "
                f"and TensorRT {trt.__version__}",
                action="build it with `wan-trt build BUNDLE --size WxH --frames N`",
            )
        return plan
