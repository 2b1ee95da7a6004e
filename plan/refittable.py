"""Which parameters of a plan may be exchanged, and other values to try that with.

A refit with the same weights would not show that the plan uses the new ones, and a lost bias shows
only when it runs. So a plan that can be refitted is also run with every exchanged matrix turned
upside down, and must then be what ONNX Runtime makes of the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wan_trt.engine.bundle import Bundle
from wan_trt.plan.targets import Target

_MATRIX = 2


def lora_targets(bundle: Bundle, target: Target) -> tuple[str, ...]:
    """The parameters that LoRAs changed, in any of the graph's weight sets: the others of a LoRA
    stack for the same modules fit in."""
    weights = bundle.manifest.graphs[target.graph].weights
    stored = [item for tensors in weights.values() for item in tensors.items()]
    return tuple(sorted({name for name, tensor in stored if tensor.made.folds}))


def exchanged_weights(
    bundle: Bundle, target: Target, parameters: tuple[str, ...], folder: Path
) -> dict[str, str]:
    """Files in `folder` with the matrices among `parameters`, their rows in reverse order."""
    tensors = bundle.manifest.graphs[target.graph].weights[target.weight_set]
    files = {}
    for index, name in enumerate(parameters):
        tensor = tensors[name]
        if len(tensor.shape) != _MATRIX:
            continue
        data = np.fromfile(bundle.weights_folder / tensor.sha256, np.uint8)
        file = folder / f"exchanged.{index}"
        np.ascontiguousarray(data.reshape(tensor.shape[0], -1)[::-1]).tofile(file)
        files[name] = str(file)
    return files
