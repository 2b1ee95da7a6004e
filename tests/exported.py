"""Export one module for real - graph, weights file - and run it on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir
import torch

from wan_trt.engine.executor import run
from wan_trt.engine.ort import OrtExecutor
from wan_trt.export import weights
from wan_trt.export.graph import trace
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.tensors import TensorSource


def export_module(module: ExportModule, source: TensorSource, folder: Path) -> OrtExecutor:
    """The module as an executor, by the path that the bundle takes."""
    places = weights.lay_out(module)
    model = trace(module)
    weights.refer(model, places, "module.bin")
    onnx_ir.save(model, folder / "module.onnx")
    weights.write(folder / "module.bin", places, module.rules(), source)
    return OrtExecutor(folder / "module.onnx", folder, module.spec)


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
