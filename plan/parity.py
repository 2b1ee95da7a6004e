"""Is a plan right? Its outputs against ONNX Runtime's on the same inputs.

The inputs are drawn from a seed, so they can be made again anywhere; those that must be something
certain are: rotary tables, a timestep, token ids. Bounds are by what is computed narrow. They are
first values: the ONNX reference evaluator gives 0.007 (bfloat16) and 0.03 (E4M3, where a value next
to a rounding step falls the other way) on small random models; no plan has been measured.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.bfloat16_products import stores_narrow
from wan_trt.engine.errors import GateError
from wan_trt.engine.executor import TensorSpec
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.plan_entry import ParityRecord
from wan_trt.engine.rope import rope_tables
from wan_trt.plan.static_graph import StaticGraph
from wan_trt.plan.targets import Target

Arrays = Mapping[str, NDArray[Any]]

_TIMESTEPS = 1000
_FIRST_TOKEN_IDS = 256  # every vocabulary has as many


@dataclass(frozen=True)
class ParityBounds:
    """The least cosine and the greatest relative error ‖plan - reference‖ / ‖reference‖ of an
    output that passes."""

    cosine_min: float
    relative_error_max: float


_FLOAT32 = ParityBounds(0.9999, 0.015)  # TF32
_BFLOAT16 = ParityBounds(0.999, 0.045)
_E4M3 = ParityBounds(0.998, 0.065)


def bounds_of(graph: StaticGraph) -> ParityBounds:
    """The bounds for a graph by the narrowest type that it rounds something to. E4M3 matrices are
    the same on both sides; inputs that are rounded are not."""
    if any(node.op_type == "QuantizeLinear" for node in graph.model.graph.node):
        return _E4M3
    return _BFLOAT16 if stores_narrow(graph.model) else _FLOAT32


def parity_inputs(
    target: Target, inputs: tuple[TensorSpec, ...], geometry: Geometry, seed: int
) -> dict[str, NDArray[Any]]:
    """Inputs of a graph at the sizes that its plan is tuned for."""
    sizes = target.best
    made = {tensor.name: _draw(tensor, target, seed) for tensor in inputs}
    if {"rope_cos", "rope_sin"} <= made.keys():
        grid = sizes["frames"], sizes["rows"], sizes["columns"]
        made["rope_cos"], made["rope_sin"] = rope_tables(*grid, geometry.head_dim)
    return made


def compare(
    plan: Arrays, reference: Arrays, bounds: ParityBounds, seed: int, prefix: str = ""
) -> ParityRecord:
    """The worst cosine and relative error of all outputs, and what is out of bounds. An output that
    is not finite, or all zero where the reference is not, is."""
    cosines, errors = [], []
    for name, expected in reference.items():
        cosine, error = _differences(plan[name], expected)
        cosines.append(cosine)
        errors.append(error)
    worst_cosine, worst_error = _worst(cosines, min), _worst(errors, max)
    numbers = {f"{prefix}cosine": worst_cosine, f"{prefix}relative_error": worst_error}
    failed = []
    if worst_cosine is None or worst_cosine < bounds.cosine_min:
        failed.append(f"{prefix}cosine")
    if worst_error is None or worst_error > bounds.relative_error_max:
        failed.append(f"{prefix}relative_error")
    return ParityRecord(seed, numbers, tuple(failed))


def together(*records: ParityRecord) -> ParityRecord:
    """Several comparisons with the same seed as one record."""
    numbers = {name: value for record in records for name, value in record.numbers.items()}
    failed = tuple(name for record in records for name in record.failed)
    return ParityRecord(records[0].seed, numbers, failed)


def require_parity(name: str, record: ParityRecord, bounds: ParityBounds) -> None:
    """Raises GateError for a plan that does not compute what the bundle does."""
    if record.failed:
        told = ", ".join(
            f"{key} {'not finite' if value is None else f'{value:.6g}'}"
            for key, value in record.numbers.items()
        )
        raise GateError(
            f"the plan {name} is not what the bundle computes: {told}",
            expected=f"cosine of {bounds.cosine_min} or more, relative error of "
            f"{bounds.relative_error_max} or less, against ONNX Runtime",
            action="try another TensorRT, or build with --no-parity and judge the bundle's gate",
        )


def _differences(plan: NDArray[Any], reference: NDArray[Any]) -> tuple[float, float]:
    got, expected = (array.astype(np.float64).ravel() for array in (plan, reference))
    if got.shape != expected.shape or not np.isfinite(got).all():
        return math.nan, math.nan
    length, expected_length = (float(np.linalg.norm(array)) for array in (got, expected))
    error = float(np.linalg.norm(got - expected))
    if not expected_length:
        return (1.0, 0.0) if not length else (0.0, math.inf)
    if not length:
        return 0.0, 1.0
    return float(got @ expected) / (length * expected_length), error / expected_length


def _worst(values: list[float], pick: Callable[[list[float]], float]) -> float | None:
    return float(pick(values)) if all(math.isfinite(value) for value in values) else None


def _draw(tensor: TensorSpec, target: Target, seed: int) -> NDArray[Any]:
    key = hashlib.sha256(f"{seed}/{target.graph}/{tensor.name}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(key[:8], "little"))
    shape = tensor.shape(target.best)
    if tensor.name == "timestep":
        return np.full(shape, generator.integers(1, _TIMESTEPS), np.int64)
    if tensor.dtype == "int64":
        return generator.integers(1, _FIRST_TOKEN_IDS, shape)
    values = generator.standard_normal(shape, np.float32)
    if tensor.name in ("frames", "image", "faces"):
        return np.clip(values / 2, -1, 1)
    return values
