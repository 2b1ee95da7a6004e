"""A process that builds one engine, looks at it, and tries it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import tensorrt as trt
from safetensors.numpy import load_file, save_file

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.tensorrt.logger import ErrorRecorder, process_logger
from wan_trt.engine.tensorrt.refit import refit
from wan_trt.engine.tensorrt.weights import MappedWeights
from wan_trt.plan.jobs import (
    EXCHANGED,
    LAYERS,
    OUTPUTS,
    PLAN,
    REFITTED,
    TIMING_CACHE,
    EngineJob,
    EngineResult,
)
from wan_trt.plan.process import Tell, serve
from wan_trt.plan.tensorrt import network as networks
from wan_trt.plan.tensorrt.progress_monitor import ProgressMonitor
from wan_trt.plan.tensorrt.trial import run


def make(job: EngineJob, tell: Tell) -> EngineResult:
    """Raises BundleError for a graph that TensorRT refuses, InputError for options that do not fit,
    and ResourceError or ExecutionError where a call fails."""
    plan = _build(job, tell)
    (Path(job.folder) / PLAN).write_bytes(plan)
    return EngineResult(_look_and_try(job, plan, tell))


def _build(job: EngineJob, tell: Tell) -> bytes:
    logger = process_logger()
    weights = MappedWeights(job.weights)
    monitor = ProgressMonitor(tell)
    builder = trt.Builder(logger)
    network, parser = networks.parse(builder, Path(job.model).read_bytes(), weights, logger)
    if job.options.refit_loras:
        networks.mark_refittable(network, job.refittable)
    config = networks.configure(builder, job.options, job.ranges, monitor)
    networks.use_timing_cache(config, job.timing_cache, job.options.pinned)
    plan = networks.build(builder, network, config, logger)
    (Path(job.folder) / TIMING_CACHE).write_bytes(networks.timings(config))
    del network, parser, weights  # in this order: each uses the next
    return plan


def _look_and_try(job: EngineJob, plan: bytes, tell: Tell) -> int:
    """Write what the inspector shows and what the engine computes; bytes of its scratch."""
    logger, folder = process_logger(), Path(job.folder)
    runtime = trt.Runtime(logger)
    runtime.error_recorder = ErrorRecorder(logger)
    logger.begin()
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise logger.failure(
            "reading the plan that was just built", "report this with what --keep keeps"
        )
    inspector = engine.create_engine_inspector()
    layers = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    (folder / LAYERS).write_text(layers, encoding="utf-8")
    model = Path(job.model).read_bytes()
    if job.options.strip:
        refit(engine, model, MappedWeights(job.weights), logger)
    if job.inputs is not None:
        device = Device()
        inputs = load_file(job.inputs)
        trials: dict[str, Mapping[str, str] | None] = {OUTPUTS: None}
        if job.refittable:
            trials |= {REFITTED: job.weights, EXCHANGED: {**job.weights, **job.exchanged}}
        for done, (file, weights) in enumerate(trials.items()):
            tell("trial runs", done, len(trials))
            if weights is not None:
                refit(engine, model, MappedWeights(weights), logger)
            save_file(run(engine, inputs, job.outputs, device, logger), folder / file)
        tell("trial runs", len(trials), len(trials))
    return engine.device_memory_size_v2


if __name__ == "__main__":
    sys.exit(serve(EngineJob, make))
