"""LPIPS (Zhang et al. 2018, version 0.1, AlexNet): how different frames look to a network.

The weights are for the user to give: a .safetensors with torchvision's `features.N.weight` and
`.bias` of AlexNet and the `linN.model.1.weight` of the lpips package. The graph is made here and
run by ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from wan_trt.engine.errors import InputError, MediaError
from wan_trt.media.tensor_file import TensorFile

LEAST_SIDE = 32
_FIELD = "lpips"
_LAYERS = {  # number in `features`: shape of the weight, attributes of the convolution
    0: ((64, 3, 11, 11), "strides = [4, 4], pads = [2, 2, 2, 2]"),
    3: ((192, 64, 5, 5), "pads = [2, 2, 2, 2]"),
    6: ((384, 192, 3, 3), "pads = [1, 1, 1, 1]"),
    8: ((256, 384, 3, 3), "pads = [1, 1, 1, 1]"),
    10: ((256, 256, 3, 3), "pads = [1, 1, 1, 1]"),
}
_POOLED_BEFORE = (3, 6)
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-10


class Lpips:
    """The mean distance of pairs of frames; 0 is the same."""

    def __init__(self, path: Path) -> None:
        """Raises InputError or MediaError for a file that is no such weights."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            _model(_read(path)).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> float:
        """Of frames [T, H, W, 3] in [-1, 1]. Raises InputError for frames that are too small."""
        if min(reference.shape[1:3]) < LEAST_SIDE:
            raise InputError(
                f"frames of {reference.shape[2]}x{reference.shape[1]} pixels",
                expected=f"at least {LEAST_SIDE} a side for LPIPS",
                action="judge larger frames, or leave it out",
                field=_FIELD,
            )
        distances = []
        for first, second in zip(reference, candidate, strict=True):
            pair = np.stack([first, second]).transpose(0, 3, 1, 2)
            feeds = {"pair": np.ascontiguousarray(pair, np.float32)}
            distances.append(float(np.asarray(self._session.run(None, feeds)[0]).item()))
        return float(np.mean(distances))


def _read(path: Path) -> Mapping[str, NDArray[Any]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (layer, (kernel, _)) in enumerate(_LAYERS.items()):
        shapes[f"features.{layer}.weight"] = kernel
        shapes[f"features.{layer}.bias"] = kernel[:1]
        shapes[f"lin{number}.model.1.weight"] = (1, kernel[0], 1, 1)
    file = TensorFile(path, _FIELD)
    try:
        for name, shape in shapes.items():
            found = file.shape(name) if name in file.names else None
            if found != shape or file.dtype(name) != "F32":
                raise MediaError(
                    f"{path}: {name} is {'missing' if found is None else list(found)}",
                    expected=f"float32 {list(shape)}",
                    action="give AlexNet's features and the linear layers of LPIPS in one file",
                    field=_FIELD,
                )
        return {name: file.tensor(name) for name in shapes}
    finally:
        file.close()


def _model(weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """`pair` [2, 3, H, W] in [-1, 1] -> `distance`, a scalar."""
    lines = ["centred = Sub (pair, shift)", "x0 = Div (centred, scale)"]
    current = "x0"
    for layer, (_, attributes) in _LAYERS.items():
        if layer in _POOLED_BEFORE:
            lines.append(f"p{layer} = MaxPool <kernel_shape=[3, 3], strides=[2, 2]> ({current})")
            current = f"p{layer}"
        lines += [
            f"c{layer} = Conv <{attributes}> ({current}, w{layer}, b{layer})",
            f"r{layer} = Relu (c{layer})",
            f"n{layer} = ReduceL2 <keepdims = 1> (r{layer}, channels)",
            f"e{layer} = Add (n{layer}, epsilon)",
            f"u{layer} = Div (r{layer}, e{layer})",
            f"f{layer}, s{layer} = Split <axis = 0, num_outputs = 2> (u{layer})",
            f"d{layer} = Sub (f{layer}, s{layer})",
            f"q{layer} = Mul (d{layer}, d{layer})",
            f"v{layer} = Conv (q{layer}, l{layer})",
            f"m{layer} = ReduceMean <keepdims = 0> (v{layer})",
        ]
        current = f"r{layer}"
    lines.append(f"distance = Sum ({', '.join(f'm{layer}' for layer in _LAYERS)})")
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> lpips (float[2, 3, height, width] pair) => '
        f"(float distance) {{ {' '.join(lines)} }}"
    )
    constants: dict[str, NDArray[Any]] = {
        "shift": np.array(_SHIFT, np.float32).reshape(1, 3, 1, 1),
        "scale": np.array(_SCALE, np.float32).reshape(1, 3, 1, 1),
        "epsilon": np.array(_EPSILON, np.float32),
        "channels": np.array([1], np.int64),
    }
    for number, layer in enumerate(_LAYERS):
        constants[f"w{layer}"] = weights[f"features.{layer}.weight"]
        constants[f"b{layer}"] = weights[f"features.{layer}.bias"]
        constants[f"l{layer}"] = weights[f"lin{number}.model.1.weight"]
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    return model
