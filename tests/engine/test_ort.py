"""The ONNX Runtime executor on tiny graphs: binding, state, weights, and its errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError, ExecutionError, ResourceError
from wan_trt.engine.executor import GraphSpec, TensorSpec, run
from wan_trt.engine.executors import Executors
from wan_trt.engine.ort import OrtExecutor, allocate, load_executor
from wan_trt.engine.request import ExpertName

MakeBundle = Callable[..., Bundle]

SCALE = GraphSpec(
    inputs=(TensorSpec("x", "float32", ("rows", "2*columns")),),
    outputs=(TensorSpec("y", "float32", ("rows", "2*columns")),),
)
COUNTER = GraphSpec(
    inputs=(TensorSpec("x", "int64", (2,)), TensorSpec("cache_00", "int64", (2,))),
    outputs=(TensorSpec("y", "int64", (2,)), TensorSpec("next_cache_00", "int64", (2,))),
)


def write(path: Path, text: str, external: tuple[str, int] | None = None) -> Path:
    """A graph from its text, with an external float scalar or vector where asked."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["": 23]> {text}')
    if external is not None:
        name, nbytes = external
        weight = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[nbytes // 4])
        weight.data_location = onnx.TensorProto.EXTERNAL
        places = {"location": f"{path.stem}.bin", "offset": "0", "length": str(nbytes)}
        for key, value in places.items():
            weight.external_data.add(key=key, value=value)
        model.graph.initializer.append(weight)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def scale_graph(tmp_path: Path) -> Path:
    return write(
        tmp_path / "scale.onnx",
        "scale (float[r, c] x) => (float[r, c] y) { y = Mul (x, w) }",
        ("w", 4),
    )


def weights(folder: Path, value: float) -> Path:
    folder.mkdir()
    np.array([value], np.float32).tofile(folder / "scale.bin")
    return folder


def test_one_graph_file_with_two_weight_folders(scale_graph: Path, tmp_path: Path) -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    for folder, factor in (("high", 2.0), ("low", -3.0)):
        executor = OrtExecutor(scale_graph, weights(tmp_path / folder, factor), SCALE, threads=1)
        result = run(executor, {"rows": 1, "columns": 2}, x=x)
        np.testing.assert_array_equal(result["y"], factor * x)


def test_bound_arrays_are_read_and_written_in_place(scale_graph: Path, tmp_path: Path) -> None:
    executor = OrtExecutor(scale_graph, weights(tmp_path / "set", 2.0), SCALE, threads=1)
    mine = np.zeros((3, 2), np.float32)
    bindings = executor.bind({"rows": 3, "columns": 1}, {"y": mine})
    for value in (1.0, 5.0):
        bindings.inputs["x"][...] = value
        executor.launch(bindings)
        assert (mine == 2 * value).all()
    assert bindings.outputs["y"] is mine


def test_two_bindings_that_swap_the_state_run_without_copies(tmp_path: Path) -> None:
    graph = write(
        tmp_path / "counter.onnx",
        "counter (int64[2] x, int64[2] cache_00) => (int64[2] y, int64[2] next_cache_00) "
        "{ next_cache_00 = Add (x, cache_00) y = Identity (next_cache_00) }",
    )
    executor = OrtExecutor(graph, tmp_path, COUNTER, threads=1)
    assert COUNTER.caches == (("next_cache_00", "cache_00"),)
    there = executor.bind({})
    swapped = {
        "x": there.inputs["x"],
        "cache_00": there.outputs["next_cache_00"],
        "next_cache_00": there.inputs["cache_00"],
    }
    back = executor.bind({}, swapped)
    there.inputs["x"][:] = (1, 10)
    for bindings in (there, back, there, back, there):
        executor.launch(bindings)
    assert there.outputs["y"].tolist() == [5, 50]


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros((2, 4), np.float32),
        np.zeros((3, 2), np.float64),
        np.zeros((2, 3), np.float32).T,
    ],
    ids=["shape", "dtype", "order"],
)
def test_a_tensor_that_does_not_fit_is_a_bug_of_the_caller(
    scale_graph: Path, tmp_path: Path, tensor: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
) -> None:
    executor = OrtExecutor(scale_graph, weights(tmp_path / "set", 1.0), SCALE, threads=1)
    with pytest.raises(ValueError, match="x must be contiguous float32 \\(3, 2\\)"):
        executor.bind({"rows": 3, "columns": 1}, {"x": tensor})
    with pytest.raises(ValueError, match="no tensors"):
        executor.bind({"rows": 3, "columns": 1}, {"z": tensor})


def test_missing_or_damaged_files_are_bundle_errors(scale_graph: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"scale\.onnx"):
        OrtExecutor(scale_graph, tmp_path / "nowhere", SCALE)
    with pytest.raises(BundleError, match="absent"):
        OrtExecutor(tmp_path / "absent.onnx", tmp_path, SCALE)
    scale_graph.write_bytes(b"not a graph")
    with pytest.raises(BundleError, match="export the bundle again"):
        OrtExecutor(scale_graph, weights(tmp_path / "set", 1.0), SCALE)


def test_a_truncated_weight_file_is_a_bundle_error(scale_graph: Path, tmp_path: Path) -> None:
    (tmp_path / "scale.bin").write_bytes(b"\0\0")
    with pytest.raises(BundleError):
        OrtExecutor(scale_graph, tmp_path, SCALE)


def test_a_graph_of_another_interface_is_a_bundle_error(scale_graph: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cache_00"):
        OrtExecutor(scale_graph, weights(tmp_path / "set", 1.0), COUNTER)


def test_a_run_that_fails_names_the_graph(tmp_path: Path) -> None:
    graph = write(
        tmp_path / "pick.onnx",
        "pick (int64[n] x) => (float[n] y) "
        "{ t = Constant <value_floats = [1.0, 2.0]> () y = Gather (t, x) }",
    )
    spec = GraphSpec(
        (TensorSpec("x", "int64", ("n",)),),
        (TensorSpec("y", "float32", ("n",)),),
    )
    executor = OrtExecutor(graph, tmp_path, spec, threads=1)
    with pytest.raises(ExecutionError, match="running pick"):
        run(executor, {"n": 1}, x=np.array([7]))


def test_a_closed_executor_does_not_run(scale_graph: Path, tmp_path: Path) -> None:
    executor = OrtExecutor(scale_graph, weights(tmp_path / "set", 1.0), SCALE, threads=1)
    bindings = executor.bind({"rows": 1, "columns": 1})
    executor.close()
    with pytest.raises(ValueError, match="closed"):
        executor.launch(bindings)


def test_absurd_tensors_are_a_resource_error() -> None:
    with pytest.raises(ResourceError, match="no memory"):
        allocate((1 << 20, 1 << 20, 1 << 10), "float32")


@pytest.mark.parametrize("shape", [(3,), (1024, 1024)])
def test_allocated_tensors_are_zero_and_writable(shape: tuple[int, ...]) -> None:
    tensor = allocate(shape, "float32")
    assert tensor.shape == shape
    assert not tensor.any()
    tensor += 1
    assert (tensor == 1).all()


def test_experts_with_the_same_weights_share_an_executor(make_bundle: MakeBundle) -> None:
    executors = Executors(make_bundle(high=1.0, low=1.0), load_executor)
    high = executors.get("denoiser", ExpertName.HIGH)
    assert executors.get("denoiser", ExpertName.LOW) is high
    assert executors.loaded == (("denoiser", "shared"),)


def test_graphs_are_loaded_when_asked_for_and_released_by_name(make_bundle: MakeBundle) -> None:
    executors = Executors(make_bundle(high=1.0, low=2.0), load_executor)
    high = executors.get("denoiser", ExpertName.HIGH)
    assert executors.get("denoiser", ExpertName.LOW) is not high
    executors.get("image_encoder")
    executors.release("denoiser")
    assert executors.loaded == (("image_encoder", "shared"),)
    executors.close()
    assert not executors.loaded
    with pytest.raises(BundleError, match="nonsense"):
        executors.get("nonsense")
