"""Weights into an engine that has none, or others into one that was built for that."""

from __future__ import annotations

import tensorrt as trt

from wan_trt.engine.tensorrt.logger import Logger
from wan_trt.engine.tensorrt.weights import MappedWeights


def refit(engine: trt.ICudaEngine, model: bytes, weights: MappedWeights, logger: Logger) -> None:
    """Put the parameters of `model`, the graph that the engine was made from, into the engine.
    Raises ResourceError or ExecutionError; then the engine is of no use."""
    action = "build the plan again"
    logger.begin()
    refitter = trt.Refitter(engine, logger)
    parser = trt.OnnxParserRefitter(refitter, logger)
    if not parser.load_model_proto(model):
        raise logger.failure("reading the graph for a refit", action)
    weights.hand_to(parser, logger)
    if not parser.refit_model_proto():
        faults = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise logger.failure(f"refitting the plan ({'; '.join(faults)})", action)
    if missing := refitter.get_missing_weights():
        raise logger.failure(f"refitting the plan without {', '.join(missing)}", action)
    if not refitter.refit_cuda_engine():
        raise logger.failure("refitting the plan", action)
