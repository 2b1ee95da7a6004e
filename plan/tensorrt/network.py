"""ONNX -> TensorRT network -> serialized plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import tensorrt as trt

from wan_trt.engine.errors import BundleError, InputError
from wan_trt.engine.tensorrt.logger import Logger
from wan_trt.engine.tensorrt.weights import MappedWeights
from wan_trt.plan.jobs import BuildOptions, ShapeRange


def parse(
    builder: trt.Builder, model: bytes, weights: MappedWeights, logger: Logger
) -> tuple[trt.INetworkDefinition, trt.OnnxParser]:
    """The network of a graph; types are the graph's. The parser owns what it made of the weights:
    keep it until the plan is built. Raises BundleError naming the nodes that it refuses."""
    logger.begin()
    network = builder.create_network()
    parser = trt.OnnxParser(network, logger)
    if not parser.load_model_proto(model):
        raise BundleError("TensorRT cannot read the graph", action="export the bundle again")
    weights.hand_to(parser, logger)
    if not parser.parse_model_proto():
        faults = [_fault(parser.get_error(index)) for index in range(parser.num_errors)]
        raise BundleError(
            f"TensorRT refuses {'; '.join(faults)}",
            action="leave this graph out with --graphs, and report it",
        )
    return network, parser


def mark_refittable(network: trt.INetworkDefinition, parameters: Sequence[str]) -> None:
    """Raises InputError for one that the network has not as it is."""
    for name in parameters:
        if not network.mark_weights_refittable(name):
            raise InputError(
                f"{name} cannot be exchanged: TensorRT's network has no weights of that name",
                action="build without --refit-loras",
                field="refit_loras",
            )


def configure(
    builder: trt.Builder,
    options: BuildOptions,
    ranges: Mapping[str, ShapeRange],
    monitor: trt.IProgressMonitor,
) -> trt.IBuilderConfig:
    """The build's settings, without a timing cache."""
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.builder_optimization_level = options.optimization_level
    config.progress_monitor = monitor
    if options.workspace_nbytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_nbytes)
    if options.strip:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
    if options.refit_loras:
        config.set_flag(trt.BuilderFlag.REFIT_INDIVIDUAL)
    elif options.strip:
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)
    if ranges:
        profile = builder.create_optimization_profile()
        for name, shapes in ranges.items():
            least, best, most = map(trt.Dims, (shapes.least, shapes.best, shapes.most))
            profile.set_shape(name, least, best, most)
        config.add_optimization_profile(profile)
    return config


def use_timing_cache(config: trt.IBuilderConfig, file: str | None, pinned: bool) -> None:
    """Tactics that were timed before are not timed again; `pinned`: no others are used. Raises
    InputError for a cache of another GPU or TensorRT, and for pinning without one."""
    if pinned and file is None:
        raise InputError(
            "there is no timing cache of this GPU and TensorRT",
            action="build once without --pinned",
            field="pinned",
        )
    cache = config.create_timing_cache(Path(file).read_bytes() if file else b"")
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        raise InputError(
            f"the timing cache {file} is of another GPU or TensorRT",
            action="remove it from the bundle's plans and build again",
        )
    if pinned:
        config.set_flag(trt.BuilderFlag.ERROR_ON_TIMING_CACHE_MISS)


def build(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    logger: Logger,
) -> bytes:
    """The serialized plan. Raises ResourceError or ExecutionError."""
    logger.begin()
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise logger.failure(
            "building the plan",
            "see its log with --keep; with --pinned the timing cache may lack a tactic",
        )
    return contents(plan)


def timings(config: trt.IBuilderConfig) -> bytes:
    """The timing cache after a build."""
    return contents(config.get_timing_cache().serialize())


def contents(memory: trt.IHostMemory) -> bytes:
    """The bytes of memory that TensorRT owns."""
    return bytes(cast(Any, memory))  # it has the buffer protocol, which its stubs do not say


def _fault(error: trt.ParserError) -> str:
    return f"node {error.node_name()} ({error.node_operator()}): {' '.join(error.desc().split())}"
