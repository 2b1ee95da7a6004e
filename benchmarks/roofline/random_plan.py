"""A denoiser of the real size with random weights, as the build of a TensorRT plan.

The graph is the exported one, traced without weights. Parameters of one shape and type share one
file of random bytes: a plan's time does not depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir

from scale.graph_stage import shapes_only
from wan_trt.engine.executor import GraphSpec
from wan_trt.engine.models import DENOISER, ModelName
from wan_trt.engine.plan_entry import SymbolRange
from wan_trt.export import graphs
from wan_trt.export.precision import Precision, stored_dtypes
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.rounding import NOTHING, Rounding
from wan_trt.export.stored_graph import stored_graph
from wan_trt.export.synthetic.sizes import CheckpointSizes
from wan_trt.plan.jobs import BuildOptions, EngineJob
from wan_trt.plan.network_graph import graph_for_tensorrt, parser_input
from wan_trt.plan.operators import require_supported
from wan_trt.plan.targets import Target

_SPREAD = 0.02
_MATRIX = 2
_TYPES: Mapping[int, np.dtype[np.generic]] = {
    onnx.TensorProto.FLOAT: np.dtype(np.float32),
    onnx.TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    onnx.TensorProto.FLOAT8E4M3FN: np.dtype(ml_dtypes.float8_e4m3fn),
}


@dataclass(frozen=True)
class RandomDenoiser:
    """A traced graph, its interface, and what is rounded in it to E4M3."""

    file: Path
    spec: GraphSpec

    @staticmethod
    def trace(
        model: ModelName, sizes: CheckpointSizes, precision: Precision, folder: Path
    ) -> RandomDenoiser:
        """FP8 by the policy `wide`."""
        checkpoint, _ = shapes_only(model, sizes)
        contents = graphs.plan(checkpoint)
        module, rounding = contents.expert[DENOISER], NOTHING
        if precision is Precision.FP8:
            rounding = _wide(contents)
        traced = stored_graph(module, stored_dtypes(module, precision, rounding), rounding)
        file = folder / f"{DENOISER}-{precision.value}.onnx"
        onnx_ir.save(traced, file)
        return RandomDenoiser(file, module.spec)

    def job(self, sizes: Mapping[str, int], folder: Path) -> EngineJob:
        """Its build at one size, in `folder`, where the random weights are written too. Raises
        BundleError for a graph that TensorRT would not take."""
        symbols = {name: SymbolRange.fixed(value) for name, value in sizes.items()}
        graph = graph_for_tensorrt(self.file, self.spec, Target(DENOISER, "random", symbols))
        require_supported(graph)
        model = folder / "model.onnx"
        model.write_bytes(parser_input(graph))
        stored = [tensor for tensor in graph.model.graph.initializer if tensor.external_data]
        return EngineJob(
            model=str(model),
            weights={tensor.name: str(_random_file(tensor, folder)) for tensor in stored},
            folder=str(folder),
            ranges={},
            outputs={tensor.name: tensor.shape(sizes) for tensor in self.spec.outputs},
            timing_cache=None,
            options=BuildOptions(gate=False, parity=False),
        )


def _wide(contents: graphs.BundlePlan) -> Rounding:
    policy = Policy.read("wide").apply(candidates(contents.expert), contents.geometry.layers)
    return policy.rounded.get(DENOISER, NOTHING)


def _random_file(tensor: onnx.TensorProto, folder: Path) -> Path:
    """Of matrices with signs, of vectors without: scales and norms are among them."""
    file = folder / f"{tensor.data_type}-{'x'.join(map(str, tensor.dims))}.bin"
    if not file.is_file():
        generator = np.random.default_rng(len(file.name))
        values = _SPREAD * generator.standard_normal(math.prod(tensor.dims), np.float32)
        if len(tensor.dims) < _MATRIX:
            values = np.abs(values)
        values.astype(_TYPES[tensor.data_type]).tofile(file)
    return file
