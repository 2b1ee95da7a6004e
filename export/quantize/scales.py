"""What calibration found for the FP8 linears and attentions, and what it was measured on.

One safetensors file, float32:

    EXPERT/NAME                   [], the greatest magnitude that this input is to hold (its scale
                                  is that / 448), where it is rounded
    EXPERT/LINEAR:column_scales   [out], see fitted.py; without it a column's scale is its greatest
                                  magnitude / 448
    EXPERT/LINEAR:bias_shift      [out], beside column scales of a linear with a bias

Its metadata holds, as JSON, the origin, and a hash of what was found for each expert, all of it,
that follows it into the bundle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wan_trt.engine.calibration_record import E4M3_MAX, input_scale_sha256, record_digest
from wan_trt.engine.errors import BundleError, InputError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.engine.strict_json import parse
from wan_trt.export.quantize.attention_inputs import linears_of
from wan_trt.export.quantize.e4m3_nodes import input_scale, weight_scale
from wan_trt.export.quantize.fitted import Fitted
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.media.partial_output import whole_file

# Below it the scale would be no normal float32.
LEAST_RANGE = E4M3_MAX * float(np.finfo(np.float32).tiny)
_METADATA, _DIGESTS = "wan_trt.scales", "wan_trt.scales.sha256"
_COLUMNS, _SHIFT = "column_scales", "bias_shift"
_FIELD = "scales"


@dataclass(frozen=True)
class LoraUse:
    """A LoRA file as an expert had it folded in."""

    sha256: str
    strength: float
    alpha: float | None = None


@dataclass(frozen=True)
class ScalesOrigin:
    """What ranges belong to. `checkpoint` has sha256 by file; `loras` the stack of each expert;
    `policy` the digest of the policy whose linears were measured; `sampling`, `inputs` (sha256 by
    name) and `tools` say how, and do not decide what they may be applied to."""

    model: ModelName
    checkpoint: Mapping[str, str]
    loras: Mapping[str, tuple[LoraUse, ...]]
    boundary: float
    policy: str
    method: str
    sampling: Mapping[str, Any]
    inputs: Mapping[str, str]
    tools: Mapping[str, str]


@dataclass(frozen=True)
class Scales:
    """`ranges[expert][name]` >= LEAST_RANGE, finite. `fitted` has all linears of an expert, or
    none. Raises InputError for others."""

    origin: ScalesOrigin
    ranges: Mapping[ExpertName, Mapping[str, float]]
    fitted: Mapping[ExpertName, Mapping[str, Fitted]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for expert, modules in self.ranges.items():
            for module, value in modules.items():
                if not LEAST_RANGE <= value < math.inf:
                    raise _error(f"the range of {expert}/{module} is {value}")
        for expert, linears in self.fitted.items():
            if odd := sorted(set(linears_of(self.ranges[expert])) - linears.keys()):
                raise _error(f"{expert}/{odd[0]} has a range and no column scales, unlike others")

    @property
    def digests(self) -> dict[str, str]:
        """A hash of what was found for each expert, by which it can be told whose it is."""
        found = {expert: self._by_parameter(expert) for expert in ExpertName}
        return {expert.value: record_digest(own) for expert, own in found.items() if own}

    def _by_parameter(self, expert: ExpertName) -> dict[str, str]:
        """The hashes of the tensors that an export stores, or adds to a bias."""
        ranges, fitted = self.ranges.get(expert, {}), self.fitted.get(expert, {})
        scales = {input_scale(name): input_scale_sha256(x) for name, x in ranges.items()}
        columns = {weight_scale(linear): own.columns_digest for linear, own in fitted.items()}
        shifts = {
            f"{linear}.bias": own.shift_digest for linear, own in fitted.items() if own.shift_digest
        }
        return scales | columns | shifts

    def write(self, path: Path) -> None:
        """The file appears, or is replaced, when it is complete. Raises MediaError or
        ResourceError for the place."""
        tensors = {
            f"{expert}/{module}": np.asarray(np.float32(value))
            for expert, modules in self.ranges.items()
            for module, value in modules.items()
        }
        for expert, linears in self.fitted.items():
            for module, fitted in linears.items():
                tensors[f"{expert}/{module}:{_COLUMNS}"] = fitted.column_scales
                if fitted.bias_shift is not None:
                    tensors[f"{expert}/{module}:{_SHIFT}"] = fitted.bias_shift
        metadata = {
            _METADATA: json.dumps(asdict(self.origin), sort_keys=True),
            _DIGESTS: json.dumps(self.digests),
        }
        content = save(tensors, metadata)
        with whole_file(path) as partial:
            partial.write_bytes(content)

    @staticmethod
    def read(path: Path) -> Scales:
        """Raises InputError for a file that is no Scales, and for ranges that are none."""
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if missing := {_METADATA, _DIGESTS} - metadata.keys():
                raise _error(f"{path} has no record of its origin: no {', '.join(sorted(missing))}")
            origin: ScalesOrigin = parse(ScalesOrigin, json.loads(metadata[_METADATA]), str(path))
            digests = json.loads(metadata[_DIGESTS])
        except (OSError, SafetensorError, ValueError) as error:
            raise _error(f"{path} cannot be read ({error})") from None
        except BundleError as error:
            raise _error(error.given) from None
        try:
            scales = _from_tensors(origin, values)
        except InputError as error:
            raise _error(f"{path}: {error.given}") from None
        if scales.digests != digests:
            raise _error(f"{path} has other numbers, or another expert's, than its record of them")
        return scales

    def require(self, origin: ScalesOrigin, rounding: Rounding) -> None:
        """Raise InputError unless they were measured on this checkpoint with these LoRAs, this
        boundary and this policy, hold a range for each of the inputs that are rounded and no
        other, and where an expert's linears were fitted just the FP8 ones."""
        mine = self.origin
        for what, given, wanted in (
            ("another model", mine.model, origin.model),
            ("another checkpoint", mine.checkpoint, origin.checkpoint),
            ("other LoRAs", mine.loras, origin.loras),
            ("another boundary", mine.boundary, origin.boundary),
            ("another policy", mine.policy, origin.policy),
        ):
            if given != wanted:
                raise _error(f"the scales were measured with {what}: {given}", f"{wanted}")
        for expert in ExpertName:
            ranges, fitted = self.ranges.get(expert, {}), self.fitted.get(expert, {})
            linears = rounding.weights if fitted else frozenset()
            for problem, names in (
                ("lack", rounding.inputs - ranges.keys()),
                ("have ranges that nothing uses:", ranges.keys() - rounding.inputs),
                ("lack column scales of", linears - fitted.keys()),
                ("have column scales that nothing uses:", fitted.keys() - linears),
            ):
                if names:
                    shown = ", ".join(sorted(names)[:5]) + (", .." if len(names) > 5 else "")
                    raise _error(f"the scales of the {expert}-noise expert {problem} {shown}")


def _from_tensors(origin: ScalesOrigin, tensors: Mapping[str, NDArray[Any]]) -> Scales:
    ranges: dict[ExpertName, dict[str, float]] = {expert: {} for expert in ExpertName}
    fitted: dict[ExpertName, dict[str, Fitted]] = {}
    for name, value in tensors.items():
        expert, _, rest = name.partition("/")
        module, _, kind = rest.partition(":")
        if expert not in list(ExpertName) or not module or kind not in ("", _COLUMNS, _SHIFT):
            raise _error(f"there is an unknown tensor {name}")
        if kind == "":
            if value.shape != ():
                raise _error(f"the range of {name} is {value.tolist()}")
            ranges[ExpertName(expert)][module] = float(value)
        elif kind == _COLUMNS:
            shift = tensors.get(f"{expert}/{module}:{_SHIFT}")
            try:
                fitted.setdefault(ExpertName(expert), {})[module] = Fitted(value, shift)
            except InputError as error:
                raise _error(f"the columns of {expert}/{module}: {error.given}") from None
        elif f"{expert}/{module}:{_COLUMNS}" not in tensors:
            raise _error(f"{name} without column scales")
    return Scales(origin, ranges, fitted)


def _error(given: str, expected: str = "scales that `wan-trt calibrate` wrote") -> InputError:
    return InputError(
        given,
        expected=expected,
        action="calibrate again with this checkpoint, these LoRAs and this policy",
        field=_FIELD,
    )
