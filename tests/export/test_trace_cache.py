"""A graph is traced once, if somebody says where it is kept."""

from __future__ import annotations

from pathlib import Path

import onnx_ir
import pytest
import torch
from torch import nn

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.export.graph import trace
from wan_trt.export.modeling.module import ExportModule, WeightRule
from wan_trt.export.trace_cache import VARIABLE


class Scaled(ExportModule):
    """A linear whose input is multiplied by a number that the graph has in it."""

    def __init__(self, width: int, factor: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 3)
        self.example_sizes = {"rows": 5}
        self.factor = torch.tensor([factor])
        self.spec = GraphSpec(
            (TensorSpec("x", "float32", ("rows", width)),),
            (TensorSpec("y", "float32", ("rows", 3)),),
        )

    def rules(self) -> dict[str, WeightRule]:
        return {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x * self.factor)  # type: ignore[no-any-return]


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "traces"))
    return tmp_path / "traces"


def serialized(model: onnx_ir.Model) -> bytes:
    return onnx_ir.to_proto(model).SerializeToString(deterministic=True)


def test_a_graph_from_the_folder_is_the_one_that_is_traced(
    traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = trace(Scaled(4, 2.0)), trace(Scaled(4, 2.0))
    assert len(list(traces.iterdir())) == 1
    monkeypatch.delenv(VARIABLE)
    plain = trace(Scaled(4, 2.0))
    assert serialized(first) == serialized(again) == serialized(plain)
    parameters = again.graph.initializers["linear.weight"], plain.graph.initializers["linear.bias"]
    assert [parameter.const_value for parameter in parameters] == [None, None]


def test_other_sizes_and_other_constants_are_other_graphs(traces: Path) -> None:
    graphs = {serialized(trace(Scaled(*how))) for how in ((4, 2.0), (5, 2.0), (4, 3.0))}
    assert len(graphs) == len(list(traces.iterdir())) == 3


def test_a_graph_that_is_kept_is_taken(traces: Path) -> None:
    trace(Scaled(4, 2.0))
    (path,) = traces.iterdir()
    model = onnx_ir.load(path)
    model.graph.name = "kept"
    onnx_ir.save(model, path)
    assert trace(Scaled(4, 2.0)).graph.name == "kept"


def test_what_cannot_be_described_is_traced_each_time(traces: Path) -> None:
    module = Scaled(4, 2.0)
    module.linear.register_forward_hook(lambda *_: None)
    assert trace(module).graph.initializers["linear.weight"].shape == (3, 4)
    assert not traces.exists()
