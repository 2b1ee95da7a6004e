"""Graphs that were traced before. Tracing takes most of the time that a small export takes, and
gives the same graph whenever the same code builds a module of the same sizes.

Only where the variable WAN_TRT_TRACES names a folder for them. A graph is known by all that it
depends on: this package's code, the versions of what traces, and the module itself with
everything in it but the values of its weights, which a graph does not have.
"""

from __future__ import annotations

import hashlib
import io
import logging
import math
import os
import pickle
import platform
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx_ir
import torch

from wan_trt.export.modeling.module import ExportModule

VARIABLE = "WAN_TRT_TRACES"

_PACKAGE = Path(__file__).parents[1]
_TRACERS = ("torch", "onnx", "onnx-ir", "onnxscript")
_log = logging.getLogger(__name__)


def traced_once(
    module: ExportModule, trace: Callable[[ExportModule], onnx_ir.Model]
) -> onnx_ir.Model:
    """The module's graph, its parameters without data: from the folder, or traced and put there."""
    folder, key = os.environ.get(VARIABLE), None
    if folder:
        key = _key(module)
    if not folder or key is None:
        return trace(module)
    path = Path(folder) / f"{key}.onnx"
    if path.is_file():
        return _loaded(path, module)
    model = trace(module)
    _save(model, path)
    return model


class _Describer(pickle.Pickler):
    """Pickles a module. Equal bytes mean equal modules but for the values of `weights`; unequal
    ones cost a trace."""

    def __init__(self, file: io.BytesIO, weights: set[int]) -> None:
        super().__init__(file, protocol=5)
        self._weights = weights

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return None
        described = str(value.dtype), tuple(value.shape), str(value.device)
        if id(value) in self._weights or value.device.type == "meta":
            return described
        numbers = value.detach().contiguous().view(torch.uint8).numpy()
        return *described, hashlib.sha256(numbers.tobytes()).hexdigest()


def _key(module: ExportModule) -> str | None:
    """None for a module that cannot be described."""
    file = io.BytesIO()
    weights = {id(tensor) for tensor in module.state_dict(keep_vars=True).values()}
    try:
        _Describer(file, weights).dump(module)
    except Exception as error:  # lambdas and the like
        _log.info("%s is traced each time: %s", type(module).__name__, error)
        return None
    return hashlib.sha256(_surroundings() + file.getvalue()).hexdigest()


@cache
def _surroundings() -> bytes:
    """Digest of the code and of the versions."""
    digest = hashlib.sha256()
    for package in ("export", "engine"):
        for path in sorted((_PACKAGE / package).rglob("*.py")):
            digest.update(path.read_bytes())
    versions = [platform.python_version(), *(version(name) for name in _TRACERS)]
    digest.update(" ".join(versions).encode())
    return digest.digest()


def _save(model: onnx_ir.Model, path: Path) -> None:
    """Parameters are written as external tensors that are nowhere."""
    parameters = _parameters(model)
    for parameter in parameters:
        assert parameter.shape is not None, "it was traced"
        assert parameter.dtype is not None, "it was traced"
        nbytes = math.prod(parameter.shape.numpy()) * int(parameter.dtype.itemsize)
        parameter.const_value = onnx_ir.ExternalTensor(
            "nowhere", 0, nbytes, parameter.dtype, shape=parameter.shape, name=str(parameter.name)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        file.write(onnx_ir.to_proto(model).SerializeToString())
    Path(file.name).replace(path)
    for parameter in parameters:
        parameter.const_value = None


def _loaded(path: Path, module: ExportModule) -> onnx_ir.Model:
    model = onnx_ir.load(path)
    for name in module.state_dict():
        model.graph.initializers[name].const_value = None
    return model


def _parameters(model: onnx_ir.Model) -> list[onnx_ir.Value]:
    return [value for value in model.graph.initializers.values() if value.const_value is None]
