"""fp8 weights times their scales, as ComfyUI's "fp8 scaled" files have them.

    X.weight                          float8_e4m3fn or float8_e5m2
    X.scale_weight, or X.weight_scale one number, or one for each row; weight = values * scale
    X.scale_input, X.input_scale      of activations: nothing to do with the weight
    X.comfy_quant                     JSON in bytes: {"format": "float8_e4m3fn"}
    scaled_fp8                        marks the file; its dtype is that of the weights

Files without scales whose weights are plain fp8 are read as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from math import prod

import torch

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.layouts.headers import Header
from wan_trt.export.layouts.renamed import shown
from wan_trt.export.tensors import TensorSource

MARKER = "scaled_fp8"
FP8 = frozenset({"F8_E4M3", "F8_E5M2"})
FLOATS = FP8 | {"BF16", "F16", "F32", "F64"}
_FORMATS = ("float8_e4m3fn", "float8_e5m2")
_SCALE = re.compile(r"(?P<module>.+)\.(?:scale_weight|weight_scale)")
_COMPANION = re.compile(rf"{MARKER}|.+\.(?:scale_weight|weight_scale|scale_input|input_scale)")
_DESCRIPTION = re.compile(r".+\.comfy_quant")


def is_companion(name: str) -> bool:
    """Whether a tensor belongs to the quantisation and not to the model."""
    return bool(_COMPANION.fullmatch(name) or _DESCRIPTION.fullmatch(name))


class ScaledTensors:
    """The model's tensors alone, in float32, each weight multiplied by its scale when read."""

    def __init__(self, source: TensorSource, headers: Mapping[str, Header], label: str) -> None:
        """Raises CheckpointError for scales without weights, weights that lack theirs, block-wise
        scales and other quantisations than fp8."""
        self._source = source
        self._names = [name for name in headers if not is_companion(name)]
        self._scales: dict[str, str] = {}
        for name in headers:
            if match := _SCALE.fullmatch(name):
                weight = f"{match['module']}.weight"
                if weight in self._scales:
                    raise _error(label, f"{weight} has two scales, {self._scales[weight]}, {name}")
                self._scales[weight] = name
        for weight, scale in self._scales.items():
            if problem := _misfit(weight, headers.get(weight), headers[scale]):
                raise _error(label, f"{scale}: {problem}")
        fp8 = [n for n in self._names if headers[n].dtype in FP8]
        bare = [n for n in fp8 if n not in self._scales]
        if bare and (self._scales or MARKER in headers):
            raise _error(label, f"{shown(bare)} have no scales")
        if others := [n for n in self._names if headers[n].dtype not in FLOATS]:
            kinds = sorted({headers[n].dtype for n in others})
            raise _error(label, f"{shown(others)} are stored as {', '.join(kinds)}")
        for name in headers:
            if _DESCRIPTION.fullmatch(name):
                self._check_description(name, label)

    def names(self) -> Iterable[str]:
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._source.shape(name)

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        tensor = self._source.read(name, rows)
        if name not in self._scales:
            return tensor
        scale = self._source.read(self._scales[name])
        if not bool(torch.isfinite(scale).all()) or bool((scale == 0).any()):
            raise CheckpointError(
                f"{self._scales[name]} contains zero, NaN or infinity",
                expected="a finite scale",
                action="fetch the file again",
            )
        if scale.numel() > 1:
            scale = scale.reshape(-1, *(1,) * (tensor.ndim - 1))[rows or slice(None)]
        return tensor.mul_(scale)

    def _check_description(self, name: str, label: str) -> None:
        try:
            text = bytes(self._source.read(name).to(torch.uint8).tolist()).decode()
            kind = json.loads(text)["format"]
        except (ValueError, KeyError, TypeError):
            raise _error(label, f"{name} is no description of a format") from None
        if kind not in _FORMATS or "convrot" in text:
            raise _error(label, f"{name} says {text}")


def _misfit(weight: str, header: Header | None, scale: Header) -> str:
    """Why a scale does not fit its weight; empty if it does."""
    if header is None:
        return f"there is no {weight}"
    if header.dtype not in FP8:
        return f"{weight} is stored as {header.dtype}"
    if prod(scale.shape) == 1:
        return ""
    rows = header.shape[:1]
    if not rows or tuple(scale.shape) not in (rows, rows + (1,) * (len(header.shape) - 1)):
        return f"is of shape {list(scale.shape)} for a weight of {list(header.shape)}"
    return ""


def _error(label: str, given: str) -> CheckpointError:
    return CheckpointError(
        f"{label}: {given}",
        expected="plain floating point weights, or fp8 with one scale for each tensor or row",
        action="use the bf16, fp16 or fp8-scaled file of this model",
    )
