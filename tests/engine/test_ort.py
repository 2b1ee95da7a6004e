"""The ONNX Runtime executor on the CPU: what it has beside the contract, and who keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from executor_rigs import write_graph

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError, ExecutionError, ResourceError
from wan_trt.engine.executor import GraphSpec, TensorSpec, run
from wan_trt.engine.executors import Executors
from wan_trt.engine.ort import OrtExecutor, allocate, load_executor
from wan_trt.engine.request import ExpertName

MakeBundle = Callable[..., Bundle]


def test_a_run_that_fails_names_the_graph(tmp_path: Path) -> None:
    graph = write_graph(
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
