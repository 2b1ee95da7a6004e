"""Export one module for real - graph, weights file - and run it on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir
import torch

from wan_trt.engine.executor import run
from wan_trt.engine.manifest import SHARED
from wan_trt.engine.ort import OrtExecutor
from wan_trt.export.lora.fold import FoldedTensors
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.precision import Precision, stored_dtypes
from wan_trt.export.quantize.rounding import NOTHING, Rounding
from wan_trt.export.stored_graph import stored_graph
from wan_trt.export.tensor_plan import WeightSource, plan_tensors
from wan_trt.export.tensor_store import TensorStore
from wan_trt.export.tensors import TensorSource
from wan_trt.export.weights import write_weights

# Of an Animate bundle (docs/architecture.md).
GRAPHS = (
    "text_encoder",
    "image_encoder",
    "vae_encoder_first",
    "vae_encoder_next",
    "vae_decoder_first",
    "vae_decoder_next",
    "motion_encoder",
    "text_context",
    "image_context",
    "face_context",
    "segment_context",
    "denoiser",
)


def export_module(
    module: ExportModule,
    source: TensorSource,
    folder: Path,
    precision: Precision = Precision.FP32,
    rounded: Rounding = NOTHING,
    ranges: Mapping[str, float] | None = None,
) -> OrtExecutor:
    """The module as an executor, by the path that the bundle takes; `ranges` of what is
    rounded in it."""
    model = stored_graph(module, stored_dtypes(module, precision, rounded), rounded)
    onnx_ir.save(model, folder / "module.onnx")
    sources = {SHARED: WeightSource("part", FoldedTensors(source), ranges or {})}
    plans = plan_tensors("module", module, sources, precision, rounded)
    stored = write_weights(plans, TensorStore(folder / "weights"), lambda _: None)
    files = {plan.parameter: tensor.sha256 for plan, tensor in stored.items()}
    return OrtExecutor(folder / "module.onnx", folder / "weights", module.spec, files=files)


def run_exported(
    executor: OrtExecutor, sizes: Mapping[str, int], *inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Run an executor on torch tensors in the order of its inputs."""
    named = {
        spec.name: np.asarray(value.numpy(), np.dtype(spec.dtype))
        for spec, value in zip(executor.spec.inputs, inputs, strict=True)
    }
    outputs = run(executor, sizes, **named)
    return tuple(torch.from_numpy(outputs[spec.name]) for spec in executor.spec.outputs)
