"""The contract of executors, kept by each kind of them (tests/executor_rigs.py)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from executor_rigs import GRAPH_RIGS, RIGS, Rig, floats, write_graph

from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import GraphSpec, TensorSpec

SCALE = GraphSpec(
    inputs=(TensorSpec("x", "float32", ("rows", "2*columns")),),
    outputs=(TensorSpec("y", "float32", ("rows", "2*columns")),),
)
COUNTER = GraphSpec(
    inputs=(TensorSpec("x", "int64", (2,)), TensorSpec("cache_00", "int64", (2,))),
    outputs=(TensorSpec("y", "int64", (2,)), TensorSpec("next_cache_00", "int64", (2,))),
)


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with request.param(tmp_path) as rig:
        yield rig


@pytest.fixture(params=GRAPH_RIGS)
def graph_rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with request.param(tmp_path) as rig:
        yield rig


@pytest.fixture
def scale(tmp_path: Path) -> Path:
    """y = w * x"""
    text = "scale (float[r, c] x) => (float[r, c] y) { y = Mul (x, w) }"
    return write_graph(tmp_path / "scale.onnx", text, ("w", 4))


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    """Adds up all x that it has seen."""
    return write_graph(
        tmp_path / "counter.onnx",
        "counter (int64[2] x, int64[2] cache_00) => (int64[2] y, int64[2] next_cache_00) "
        "{ next_cache_00 = Add (x, cache_00) y = Identity (next_cache_00) }",
    )


def weights(folder: Path, value: float) -> Path:
    folder.mkdir()
    np.array([value], np.float32).tofile(folder / "scale.bin")
    return folder


def test_given_tensors_are_read_and_written_in_place(rig: Rig, scale: Path, tmp_path: Path) -> None:
    executor = rig.executor(scale, weights(tmp_path / "set", 2.0), SCALE)
    x, y = rig.empty(3, 2), rig.empty(3, 2)
    bindings = executor.bind({"rows": 3, "columns": 1}, {"x": x, "y": y})
    assert bindings.inputs["x"] is x
    assert bindings.outputs["y"] is y
    for seed in range(4):
        rig.put(floats(3, 2, seed=seed), x)
        rig.launch(executor, bindings)
        np.testing.assert_array_equal(rig.get(y), 2 * floats(3, 2, seed=seed))


def test_one_graph_file_with_two_sets_of_weights(rig: Rig, scale: Path, tmp_path: Path) -> None:
    x = rig.tensor(floats(1, 4))
    for folder, factor in (("high", 2.0), ("low", -3.0)):
        executor = rig.executor(scale, weights(tmp_path / folder, factor), SCALE)
        y = rig.empty(1, 4)
        rig.launch(executor, executor.bind({"rows": 1, "columns": 2}, {"x": x, "y": y}))
        np.testing.assert_array_equal(rig.get(y), np.float32(factor) * floats(1, 4))


def test_sizes_take_turns(rig: Rig, scale: Path, tmp_path: Path) -> None:
    executor = rig.executor(scale, weights(tmp_path / "set", 0.5), SCALE)
    bound = {}
    for rows in (1, 7):
        tensors = {"x": rig.tensor(floats(rows, 4, seed=rows)), "y": rig.empty(rows, 4)}
        bound[rows] = executor.bind({"rows": rows, "columns": 2}, tensors)
    for rows in (1, 7, 1, 7):
        rig.launch(executor, bound[rows])
        found = rig.get(bound[rows].outputs["y"])
        np.testing.assert_array_equal(found, floats(rows, 4, seed=rows) / 2)


def test_two_bindings_that_swap_the_state_run_without_copies(
    rig: Rig, counter: Path, tmp_path: Path
) -> None:
    """Five launches, and nothing waits between them."""
    executor = rig.executor(counter, tmp_path, COUNTER)
    assert COUNTER.caches == (("next_cache_00", "cache_00"),)
    x, y = rig.tensor(np.array([1, 10])), rig.empty(2, dtype="int64")
    a, b = rig.tensor(np.zeros(2, np.int64)), rig.empty(2, dtype="int64")
    there = executor.bind({}, {"x": x, "y": y, "cache_00": a, "next_cache_00": b})
    back = executor.bind({}, {"x": x, "y": y, "cache_00": b, "next_cache_00": a})
    for bindings in (there, back, there, back, there):
        rig.launch(executor, bindings)
    assert rig.get(y).tolist() == [5, 50]


def test_results_feed_the_next_launch(rig: Rig, scale: Path, tmp_path: Path) -> None:
    """In the order of the calls, also where the host runs ahead."""
    executor = rig.executor(scale, weights(tmp_path / "set", 3.0), SCALE)
    tensors = [rig.tensor(floats(2, 2)), *(rig.empty(2, 2) for _ in range(6))]
    expected = floats(2, 2)
    for x, y in pairwise(tensors):
        rig.launch(executor, executor.bind({"rows": 2, "columns": 1}, {"x": x, "y": y}))
        expected = np.float32(3) * expected
    np.testing.assert_array_equal(rig.get(tensors[-1]), expected)


@pytest.mark.parametrize("wrong", ["shape", "dtype", "gaps"])
def test_a_tensor_that_does_not_fit_is_a_bug_of_the_caller(
    rig: Rig, scale: Path, tmp_path: Path, wrong: str
) -> None:
    executor = rig.executor(scale, weights(tmp_path / "set", 1.0), SCALE)
    x = {
        "shape": rig.empty(2, 4),
        "dtype": rig.empty(3, 2, dtype="int64"),
        "gaps": rig.empty(3, 4)[:, :2],
    }[wrong]
    with pytest.raises(ValueError, match=r"x must be contiguous float32 \(3, 2\)"):
        executor.bind({"rows": 3, "columns": 1}, {"x": x, "y": rig.empty(3, 2)})


def test_an_unknown_name_is_a_bug_of_the_caller(rig: Rig, scale: Path, tmp_path: Path) -> None:
    executor = rig.executor(scale, weights(tmp_path / "set", 1.0), SCALE)
    tensors = {name: rig.empty(3, 2) for name in ("x", "y", "z")}
    with pytest.raises(ValueError, match=r"no tensors \['z'\]"):
        executor.bind({"rows": 3, "columns": 1}, tensors)


def test_a_tensor_that_is_not_given_is_made_or_missed(
    rig: Rig, scale: Path, tmp_path: Path
) -> None:
    """Only a host has memory to give."""
    executor = rig.executor(scale, weights(tmp_path / "set", 1.0), SCALE)
    x = rig.tensor(floats(3, 2))
    if rig.backend.memory.space.stream is None:
        bindings = executor.bind({"rows": 3, "columns": 1}, {"x": x})
        rig.launch(executor, bindings)
        np.testing.assert_array_equal(bindings.outputs["y"], floats(3, 2))
    else:
        with pytest.raises(ValueError, match=r"y, float32 \(3, 2\), is not given"):
            executor.bind({"rows": 3, "columns": 1}, {"x": x})


def test_missing_or_damaged_files_are_bundle_errors(
    graph_rig: Rig, scale: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=r"scale\.onnx"):
        graph_rig.executor(scale, tmp_path / "nowhere", SCALE)
    with pytest.raises(BundleError, match="absent"):
        graph_rig.executor(tmp_path / "absent.onnx", tmp_path, SCALE)
    (tmp_path / "scale.bin").write_bytes(b"\0\0")  # truncated
    with pytest.raises(BundleError):
        graph_rig.executor(scale, tmp_path, SCALE)
    scale.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match="export the bundle again"):
        graph_rig.executor(scale, weights(tmp_path / "set", 1.0), SCALE)


def test_a_graph_of_another_interface_is_a_bundle_error(
    rig: Rig, scale: Path, tmp_path: Path
) -> None:
    """When it is loaded, or a plan when it is bound."""
    with pytest.raises(BundleError, match="cache_00"):
        rig.executor(scale, weights(tmp_path / "set", 1.0), COUNTER).bind({}, {})


def test_bindings_of_another_kind_are_refused(rig: Rig, scale: Path, tmp_path: Path) -> None:
    executor = rig.executor(scale, weights(tmp_path / "set", 1.0), SCALE)
    with pytest.raises(ValueError, match="its own bindings"):
        rig.launch(executor, object())


def test_a_closed_executor_does_not_run(rig: Rig, scale: Path, tmp_path: Path) -> None:
    executor = rig.executor(scale, weights(tmp_path / "set", 1.0), SCALE)
    tensors = {"x": rig.tensor(floats(1, 2)), "y": rig.empty(1, 2)}
    bindings = executor.bind({"rows": 1, "columns": 1}, tensors)
    rig.launch(executor, bindings)
    rig.backend.memory.space.wait()
    executor.close()
    executor.close()
    with pytest.raises(ValueError, match="closed"):
        rig.launch(executor, bindings)
