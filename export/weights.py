"""External weights: where each initializer lies in NAME.bin, and writing it tensor by tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir
import torch

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.modeling.module import ExportModule, WeightRule
from wan_trt.export.tensors import TensorSource

# ONNX Runtime maps external data into memory: tensors that start on a page need no copy.
_PAGE = 4096
_LINE = 64


@dataclass(frozen=True)
class Place:
    """An initializer's position in the weights file; float32."""

    name: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


def lay_out(module: ExportModule) -> tuple[Place, ...]:
    """Places of all parameters, in the module's own order; the same for every weight set."""
    places, end = [], 0
    for name, tensor in module.state_dict().items():
        nbytes = tensor.numel() * 4
        step = _PAGE if nbytes >= _PAGE else _LINE
        offset = -(-end // step) * step
        places.append(Place(name, tuple(tensor.shape), offset, nbytes))
        end = offset + nbytes
    return tuple(places)


def refer(model: onnx_ir.Model, places: tuple[Place, ...], location: str) -> None:
    """Make the model's parameters external tensors in the file `location`."""
    for place in places:
        value = model.graph.initializers[place.name]
        value.const_value = onnx_ir.ExternalTensor(
            location,
            place.offset,
            place.nbytes,
            onnx_ir.DataType.FLOAT,
            shape=onnx_ir.Shape(place.shape),
            name=place.name,
        )


def write(
    path: Path,
    places: tuple[Place, ...],
    rules: Mapping[str, WeightRule],
    source: TensorSource,
) -> str:
    """Stream the weights to `path`, one tensor in memory at a time. Returns the file's sha256.

    Raises CheckpointError when a tensor has another shape than the graph or is not finite.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for place in places:
            rule = rules[place.name]
            tensor = rule.apply(source).to(torch.float32).contiguous()
            if tuple(tensor.shape) != place.shape:
                raise CheckpointError(
                    f"{', '.join(rule.sources)} gives {place.name} of shape {list(tensor.shape)}",
                    expected=str(list(place.shape)),
                    action="check that config.json belongs to these weights",
                )
            if not torch.isfinite(tensor).all():
                raise CheckpointError(
                    f"{', '.join(rule.sources)} contains NaN or infinity",
                    expected="finite weights",
                    action="fetch the checkpoint (or the LoRA) again",
                )
            for data in (bytes(place.offset - file.tell()), tensor.numpy().tobytes()):
                file.write(data)
                digest.update(data)
    return digest.hexdigest()
