"""A bundle's plan as an engine: checked against its manifest, with its weights put back if it was
stored without."""

from __future__ import annotations

import mmap
from functools import cache
from pathlib import Path

import onnx
import tensorrt as trt
from onnx.external_data_helper import uses_external_data

from wan_trt.engine.bundle import Bundle, sha256_file
from wan_trt.engine.errors import BundleError
from wan_trt.engine.plan_entry import PlanEntry
from wan_trt.engine.tensorrt.logger import Logger
from wan_trt.engine.tensorrt.refit import refit
from wan_trt.engine.tensorrt.weights import MappedWeights


def load_engine(
    bundle: Bundle, plan: PlanEntry, runtime: trt.Runtime, logger: Logger
) -> trt.ICudaEngine:
    """Raises BundleError for a file that is not what the manifest says or that TensorRT refuses,
    ResourceError without memory. What is loaded runs code: no other plan is."""
    path = bundle.path / plan.file
    if (found := _sha256(path, _stamp(path))) != plan.sha256:
        raise BundleError(
            f"{path} has sha256 {found}", expected=plan.sha256, action="build the plan again"
        )
    engine = read_engine(path, runtime, logger, "build it again on this GPU and TensorRT")
    if plan.stripped:
        model = (bundle.path / plan.model).read_bytes()
        refit(engine, model, _weights(bundle, plan, model), logger)
    return engine


def read_engine(path: Path, runtime: trt.Runtime, logger: Logger, action: str) -> trt.ICudaEngine:
    """The engine of a plan, which is mapped, not copied: it may be as large as the weights. Raises
    ResourceError or ExecutionError, with what to do about it."""
    logger.begin()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise logger.failure(f"reading the plan {path}", action)
    return engine


@cache
def _sha256(path: Path, stamp: tuple[int, ...]) -> str:
    """Once for each state of a file: experts that take turns load tens of gigabytes each time."""
    del stamp
    return sha256_file(path)


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when somebody writes to a file."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _weights(bundle: Bundle, plan: PlanEntry, model: bytes) -> MappedWeights:
    """Of the parameters that the plan's graph reads: it may be fewer than the bundle's has."""
    files = bundle.tensor_files(plan.graph, plan.weight_set)
    graph = onnx.load_model_from_string(model).graph
    read = [tensor.name for tensor in graph.initializer if uses_external_data(tensor)]
    return MappedWeights({name: str(bundle.weights_folder / files[name]) for name in read})
