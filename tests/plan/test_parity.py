"""Comparing a plan's outputs with ONNX Runtime's."""

from __future__ import annotations

import numpy as np
import pytest
from planned import graph_for_tensorrt, target

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import GateError
from wan_trt.plan.parity import (
    ParityBounds,
    bounds_of,
    compare,
    parity_inputs,
    require_parity,
    together,
)

BOUNDS = ParityBounds(cosine_min=0.999, relative_error_max=0.05)
REFERENCE = {"y": np.array([3.0, 4.0], np.float32), "z": np.array([1.0], np.float32)}


def changed(**arrays: list[float]) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return REFERENCE | {name: np.array(values, np.float32) for name, values in arrays.items()}


def test_equal_outputs() -> None:
    record = compare(REFERENCE, REFERENCE, BOUNDS, seed=7)
    assert record.numbers == {"cosine": pytest.approx(1), "relative_error": 0}
    assert record.failed == ()
    assert record.seed == 7
    require_parity("plan", record, BOUNDS)


def test_the_worst_output_counts() -> None:
    record = compare(changed(z=[1.04]), REFERENCE, BOUNDS, seed=0)
    assert record.numbers == {"cosine": pytest.approx(1), "relative_error": pytest.approx(0.04)}
    assert compare(changed(z=[1.06]), REFERENCE, BOUNDS, seed=0).failed == ("relative_error",)


@pytest.mark.parametrize(
    ("values", "failed"),
    [
        ([0.0, 0.0], ("cosine", "relative_error")),  # all black
        ([float("nan"), 4.0], ("cosine", "relative_error")),
        ([float("inf"), 4.0], ("cosine", "relative_error")),
        ([3.0, 4.0, 5.0], ("cosine", "relative_error")),  # another shape
        ([4.0, 3.0], ("cosine", "relative_error")),
        ([6.0, 8.0], ("relative_error",)),  # a scale that was lost
    ],
)
def test_what_is_wrong_is_found(values: list[float], failed: tuple[str, ...]) -> None:
    record = compare(changed(y=values), REFERENCE, BOUNDS, seed=0)
    assert record.failed == failed
    with pytest.raises(GateError, match="the plan denoiser-high is not what the bundle computes"):
        require_parity("denoiser-high", record, BOUNDS)


def test_outputs_of_zeros_may_be_zeros() -> None:
    zero = {"y": np.zeros(3, np.float32)}
    assert compare(zero, zero, BOUNDS, seed=0).failed == ()
    assert compare({"y": np.full(3, 1e-3)}, zero, BOUNDS, seed=0).failed != ()


def test_several_comparisons_are_one_record() -> None:
    fine = compare(REFERENCE, REFERENCE, BOUNDS, seed=0)
    wrong = compare(changed(z=[2.0]), REFERENCE, BOUNDS, 0, "refitted.")
    record = together(fine, wrong)
    assert list(record.numbers) == [
        *("cosine", "relative_error", "refitted.cosine", "refitted.relative_error"),
    ]
    assert record.failed == ("refitted.relative_error",)


def test_inputs_are_the_same_whenever_they_are_made(tiny_bundle: Bundle) -> None:
    engine, manifest = target(tiny_bundle, "denoiser"), tiny_bundle.manifest
    specs = manifest.graphs["denoiser"].inputs
    first, again, other = (parity_inputs(engine, specs, manifest.geometry, s) for s in (1, 1, 2))
    assert first.keys() == {spec.name for spec in specs}
    for spec in specs:
        assert first[spec.name].dtype == spec.dtype
        assert first[spec.name].shape == spec.shape(engine.best)
        np.testing.assert_array_equal(first[spec.name], again[spec.name])
    assert (first["latents"] != other["latents"]).any()
    np.testing.assert_allclose(first["rope_cos"] ** 2 + first["rope_sin"] ** 2, 1, atol=1e-6)
    assert 0 < first["timestep"][0] < 1000


def test_bounds_follow_what_is_stored(tiny_bundle: Bundle, fp8_bundle: Bundle) -> None:
    graphs = [
        graph_for_tensorrt(tiny_bundle, "denoiser"),
        graph_for_tensorrt(fp8_bundle, "text_encoder"),
        graph_for_tensorrt(fp8_bundle, "denoiser"),
    ]
    errors = [bounds_of(graph).relative_error_max for graph in graphs]
    assert errors == sorted(set(errors))
