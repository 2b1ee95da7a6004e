"""ONNX Runtime's CUDA provider, as far as it can be seen without one: its options, where nodes may
run, and what is said where it is missing. What it computes is in the contract's suite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from executor_rigs import write_graph
from fake_cuda import FakeCuda
from onnx import parser

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import ExecutionError, ResourceError
from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.engine.ort_cuda import (
    SETTINGS,
    OrtCudaExecutor,
    placed_nodes,
    provider_options,
    require_no_fallback,
    run_settings,
)
from wan_trt.engine.ort_cuda_libraries import CUDA
from wan_trt.engine.ort_graph import graph_for_cpu
from wan_trt.engine.ort_placement import CPU, PlacedNode, fallen_back, name_nodes, nodes_of_sizes
from wan_trt.engine.ort_session import OrtSession, session_options

SPEC = GraphSpec(
    (TensorSpec("x", "float32", ("rows", 3)),), (TensorSpec("y", "float32", ("rows", 3)),)
)
needs_no_provider = pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers(), reason="the CUDA provider is here"
)


def test_the_provider_works_on_our_stream_and_takes_no_more_than_it_needs() -> None:
    options = provider_options(ordinal=1, stream=0xABC0)
    assert options["device_id"] == "1"
    assert int(options["user_compute_stream"]) == 0xABC0
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert all(isinstance(value, str) for value in options.values()), "ONNX Runtime takes text"


def test_a_run_does_not_wait_and_gives_its_scratch_back_unless_it_is_a_steps() -> None:
    assert run_settings(2, keep_scratch=True) == {"disable_synchronize_execution_providers": "1"}
    shrinking = run_settings(2, keep_scratch=False)
    assert shrinking["memory.enable_memory_arena_shrinkage"] == "gpu:2"
    options = onnxruntime.RunOptions()
    for key, value in shrinking.items():
        options.add_run_config_entry(key, value)  # ONNX Runtime knows the calls


@needs_no_provider
def test_a_machine_without_the_provider_says_what_is_missing(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "g.onnx", "g (float[r, 3] x) => (float[r, 3] y) { y = Neg (x) }")
    with pytest.raises(ResourceError, match="no CUDA provider here") as raised:
        OrtCudaExecutor(graph, tmp_path, SPEC, Device(bindings=FakeCuda()), stream=1)
    assert "onnxruntime-gpu" in raised.value.action


SIZES = parser.parse_model(
    '<ir_version: 10, opset_import: ["": 23]> g (float[n, 3] x) => (float[m] y) {'
    "s = Shape (x) z = Constant <value_ints = [0]> () rows = Gather (s, z)"
    "f = Cast <to = 1> (rows) scaled = Mul (x, f)"
    "all = Constant <value_ints = [-1]> () y = Reshape (scaled, all) }"
)


def test_arithmetic_about_sizes_may_run_on_the_cpu_nothing_else() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(SIZES)
    name_nodes(model)
    of_sizes = nodes_of_sizes(model)
    assert {name.split("_")[0] for name in of_sizes} == {"Shape", "Constant", "Gather", "Cast"}
    placed = [PlacedNode(node.name, node.op_type, CPU) for node in model.graph.node]
    assert [node.operator for node in fallen_back(placed, of_sizes)] == ["Mul", "Reshape"]
    on_gpu = [replace(node, provider=CUDA) for node in placed]
    assert fallen_back(on_gpu, of_sizes) == ()


def test_arithmetic_with_parameters_may_not(tmp_path: Path) -> None:
    """Weights dequantised on the CPU would be copied in every run."""
    graph = write_graph(
        tmp_path / "g.onnx",
        "g (float[r, 3] x) => (float[r, 3] y) { v = Neg (w) y = Mul (x, v) }",
        ("w", 12),
    )
    model = graph_for_cpu(graph)
    name_nodes(model)
    assert nodes_of_sizes(model) == frozenset()


def test_nodes_that_landed_on_the_cpu_are_named(tmp_path: Path) -> None:
    """Asked of a real session, all of whose nodes are there."""
    path = tmp_path / "g.onnx"
    onnx.save(SIZES, path)
    spec = GraphSpec((TensorSpec("x", "float32", ("n", 3)),), (TensorSpec("y", "float32", ("m",)),))
    model = graph_for_cpu(path)
    name_nodes(model)
    options = session_options(tmp_path, SETTINGS)
    session = OrtSession(path, model.SerializeToString(), spec, options, [CPU])
    with pytest.raises(ExecutionError, match=r"2 nodes of g: Mul Mul_\d, Reshape Reshape_\d"):
        require_no_fallback("g", placed_nodes(session), nodes_of_sizes(model))


def test_no_graph_of_a_real_bundle_leaves_much_to_the_cpu(tiny_bundle: Bundle) -> None:
    """What may stay there are single numbers: of each graph, none of its products."""
    for graph in tiny_bundle.manifest.graphs:
        model = graph_for_cpu(tiny_bundle.graph_path(graph))
        name_nodes(model)
        of_sizes = nodes_of_sizes(model)
        heavy = {"MatMul", "Gemm", "Conv", "MultiHeadAttention", "Attention", "Softmax"}
        operators = {node.op_type for node in model.graph.node if node.name in of_sizes}
        assert not operators & heavy, graph


class SeenBinding:
    """What `io_binding()` gives, as far as it is used: keeps what is bound."""

    def __init__(self) -> None:
        self.bound: dict[str, tuple[object, ...]] = {}

    def bind_input(self, name: str, *where: object) -> None:
        self.bound[name] = where

    bind_output = bind_input


def test_tensors_are_bound_by_their_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the CPU provider's session in the place of the CUDA provider's."""
    graph = write_graph(tmp_path / "g.onnx", "g (float[r, 3] x) => (float[r, 3] y) { y = Neg (x) }")
    session = OrtSession(
        graph, graph.read_bytes(), SPEC, session_options(tmp_path, SETTINGS), [CPU]
    )
    seen = SeenBinding()
    monkeypatch.setattr(session.open, "io_binding", lambda: seen)
    executor = OrtCudaExecutor.__new__(OrtCudaExecutor)
    executor.spec, executor._session, executor._ordinal = SPEC, session, 1
    executor.bind(
        {"rows": 2},
        {"x": DeviceTensor(0xA00, (2, 3), "float32"), "y": DeviceTensor(0xB00, (2, 3), "float32")},
    )
    assert seen.bound == {
        "x": ("cuda", 1, np.dtype(np.float32), (2, 3), 0xA00),
        "y": ("cuda", 1, np.dtype(np.float32), (2, 3), 0xB00),
    }
