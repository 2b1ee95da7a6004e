# ruff: noqa: A002
"""The half of the made-up `tensorrt` that builds: a network is an ONNX graph, a plan the same with
its weights in it.

Weights are read where they lie, as late as TensorRT may do it; timings belong to one GPU.
"""

from __future__ import annotations

import ctypes
import json
import weakref
import zlib
from collections.abc import Sequence
from enum import Enum
from typing import Any

import onnx

GPU = b"Fake H100"
_TIMINGS = b"timings of "


class BuilderFlag(Enum):
    REFIT_IDENTICAL = 0
    REFIT_INDIVIDUAL = 1
    STRIP_PLAN = 2
    ERROR_ON_TIMING_CACHE_MISS = 3


class MemoryPoolType(Enum):
    WORKSPACE = 0


class ProfilingVerbosity(Enum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class LayerInformationFormat(Enum):
    ONELINE = 0
    JSON = 1


class Dims(tuple[int, ...]):
    """As the bindings make it of a sequence."""


class IHostMemory(bytearray):
    """Memory of TensorRT's; gone with the last reference."""


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class INetworkDefinition:
    def __init__(self) -> None:
        self._model: onnx.ModelProto | None = None
        self._parser: weakref.ref[OnnxParser] | None = None

    def mark_weights_refittable(self, name: str) -> bool:
        assert self._model is not None
        return name in {tensor.name for tensor in self._model.graph.initializer}


class ParserError:
    def __init__(self, node: onnx.NodeProto, reason: str) -> None:
        self._node, self._reason = node, reason

    def node_name(self) -> str:
        return self._node.name

    def node_operator(self) -> str:
        return self._node.op_type

    def desc(self) -> str:
        return self._reason


class OnnxParser:
    """Takes a graph whose weights are in files of their own, and where those lie in memory."""

    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        self._network, self._logger = network, logger
        self._model = onnx.ModelProto()
        self._places: dict[str, tuple[int, int]] = {}
        self._errors: list[ParserError] = []

    def load_model_proto(self, model: bytes) -> bool:
        try:
            self._model = onnx.load_model_from_string(model)
        except Exception:
            return False
        return True

    def load_initializer(self, name: str, data: int, size: int) -> bool:
        self._places[name] = data, size
        return name in {tensor.name for tensor in self._model.graph.initializer}

    def parse_model_proto(self) -> bool:
        known = {schema.name for schema in onnx.defs.get_all_schemas()}
        nodes = self._model.graph.node
        self._errors = [ParserError(n, "no importer") for n in nodes if n.op_type not in known]
        external = {t.name for t in self._model.graph.initializer if t.external_data}
        if self._errors or external != self._places.keys():
            return False
        self._network._model, self._network._parser = self._model, weakref.ref(self)
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class IOptimizationProfile:
    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        assert min <= opt <= max, input


class ITimingCache:
    def __init__(self, timings: bytes) -> None:
        self._timings = timings

    def serialize(self) -> IHostMemory:
        return IHostMemory(self._timings)


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.builder_optimization_level = 3
        self.progress_monitor: Any = None
        self._flags: set[BuilderFlag] = set()
        self._cache: ITimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags.add(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE
        assert pool_size > 0

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        del profile
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        """None for what is no timing cache."""
        if not serialized_timing_cache:
            return ITimingCache(_TIMINGS + GPU)
        known = serialized_timing_cache.startswith(_TIMINGS)
        return ITimingCache(bytes(serialized_timing_cache)) if known else None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if not isinstance(cache, ITimingCache):
            raise TypeError("set_timing_cache(): incompatible function arguments")
        if not ignore_mismatch and not cache._timings.startswith(_TIMINGS + GPU):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder:
    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def create_network(self) -> INetworkDefinition:
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        """The parser, which owns what it made of the weights, must be there still."""
        parser = network._parser() if network._parser is not None else None
        assert parser is not None, "the parser is gone before the plan is built"
        assert network._model is not None
        monitor, phase = config.progress_monitor, "Building the engine"
        if monitor is not None:
            monitor.phase_start(phase, None, 1)
        model = onnx.ModelProto()
        model.CopyFrom(network._model)
        for tensor in model.graph.initializer:
            if tensor.name in parser._places:
                tensor.raw_data = ctypes.string_at(*parser._places[tensor.name])
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
        if not self._timed(config, network._model.SerializeToString()):
            return None
        if monitor is not None:
            monitor.step_complete(phase, 0)
            monitor.phase_finish(phase)
        return IHostMemory(model.SerializeToString())

    def _timed(self, config: IBuilderConfig, network: bytes) -> bool:
        """Whether all of its tactics have times; new ones go into the cache."""
        tactics = b" %08x" % zlib.crc32(network)
        if config._cache is None or tactics in config._cache._timings:
            return True
        if BuilderFlag.ERROR_ON_TIMING_CACHE_MISS in config._flags:
            error = self._logger.Severity.ERROR
            self._logger.log(error, "a tactic is not in the timing cache")
            return False
        config._cache._timings += tactics
        return True


class EngineInspector:
    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        assert format is LayerInformationFormat.JSON
        return json.dumps({"Layers": [{"Name": name} for name in self._names]})
