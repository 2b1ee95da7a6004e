"""A bundle's plan as an engine: checked against its manifest, with its weights put back if it was
stored without."""

from __future__ import annotations

import mmap

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
    if (found := sha256_file(path)) != plan.sha256:
        raise BundleError(
            f"{path} has sha256 {found}", expected=plan.sha256, action="build the plan again"
        )
    logger.begin()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise logger.failure(f"reading the plan {path}", "build it again on this GPU and TensorRT")
    if plan.stripped:
        model = (bundle.path / plan.model).read_bytes()
        refit(engine, model, _weights(bundle, plan, model), logger)
    return engine


def _weights(bundle: Bundle, plan: PlanEntry, model: bytes) -> MappedWeights:
    """Of the parameters that the plan's graph reads: it may be fewer than the bundle's has."""
    files = bundle.tensor_files(plan.graph, plan.weight_set)
    graph = onnx.load_model_from_string(model).graph
    read = [tensor.name for tensor in graph.initializer if uses_external_data(tensor)]
    return MappedWeights({name: str(bundle.weights_folder / files[name]) for name in read})
