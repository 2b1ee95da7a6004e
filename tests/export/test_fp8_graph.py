"""An FP8 denoiser: its nodes, and that ONNX Runtime computes what rounding in torch gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest
import torch
from e4m3_rounding import narrow_others, round_linears
from exported import export_module, run_exported
from torch import nn

from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graphs import plan
from wan_trt.export.modeling.denoiser import Denoiser
from wan_trt.export.modeling.module import ExportModule, Linear, WeightRule, default_rules
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.policy import candidates
from wan_trt.export.tensors import MemoryTensors, TensorSource

SIZES = {"frames": 3, "rows": 4, "columns": 5}


def _denoiser(source: TensorSource, checkpoint: Checkpoint) -> Denoiser:
    """With its weights, in float32."""
    shapes = plan(checkpoint).expert["denoiser"]
    assert isinstance(shapes, Denoiser)
    module = Denoiser(shapes.sizes, shapes.image, shapes.face)
    module.load(source)
    return module


@dataclass(frozen=True)
class Case:
    """A tiny denoiser, random inputs, the ranges that they have, and its FP8 graph's folder."""

    source: TensorSource
    checkpoint: Checkpoint
    inputs: tuple[torch.Tensor, ...]
    ranges: dict[str, float]
    velocity: torch.Tensor
    graph: onnx.GraphProto


@pytest.fixture(scope="module")
def case(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    source = checkpoint.experts[ExpertName.HIGH].tensors
    module = _denoiser(source, checkpoint)
    generator = torch.Generator().manual_seed(1)
    inputs = tuple(
        torch.tensor([437])
        if spec.dtype == "int64"
        else torch.randn(spec.shape(SIZES), generator=generator)
        for spec in module.spec.inputs
    )
    ranges: dict[str, float] = {}
    for name in candidates(module):

        def note(_: nn.Module, args: tuple[torch.Tensor], name: str = name) -> None:
            ranges[name] = float(args[0].abs().amax()) * 0.9  # some values saturate

        module.get_submodule(name).register_forward_pre_hook(note)
    module(*inputs)
    folder = tmp_path_factory.mktemp("fp8")
    executor = export_module(_denoiser(source, checkpoint), source, folder, Precision.FP8, ranges)
    (velocity,) = run_exported(executor, SIZES, *inputs)
    graph = onnx.load(folder / "module.onnx", load_external_data=False).graph
    return Case(source, checkpoint, inputs, ranges, velocity, graph)


def test_it_computes_what_rounding_in_torch_gives(case: Case) -> None:
    plain, fake = (_denoiser(case.source, case.checkpoint) for _ in range(2))
    for module in (plain, fake):
        narrow_others(module, case.ranges)
    round_linears(fake, case.ranges)
    expected, without = fake(*case.inputs), plain(*case.inputs)
    error, rounding = (case.velocity - expected).abs(), (without - expected).abs()
    # Where float32 differs in its last digit an input may become the E4M3 number beside.
    assert (error < 5e-5).float().mean() > 0.9
    assert error.max() < 0.05 * rounding.max()
    assert rounding.max() > 0.1


class TwoLinears(ExportModule):
    """Two linears in a row."""

    example_sizes: Mapping[str, int] = {"tokens": 5}

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Linear(48, 32), Linear(32, 16)
        self.spec = GraphSpec(
            (TensorSpec("x", "float32", (1, "tokens", 48)),),
            (TensorSpec("y", "float32", (1, "tokens", 16)),),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(self.first(x))
        return result

    def rules(self) -> dict[str, WeightRule]:
        return default_rules(self)


def test_a_linear_rounds_as_torch_does(tmp_path: Path) -> None:
    """Every E4M3 number, the middle between two, and what lies beyond 448. One weight a column: no
    sum is rounded, so both must give the same bits."""
    steps = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    values = torch.cat([steps, (steps[1:] + steps[:-1]) / 2, torch.tensor([449.0, 480.0, 1e6])])
    x = torch.cat([values, -values])
    x = torch.cat([x, torch.zeros(-len(x) % 48)]).reshape(1, -1, 48)
    second = torch.eye(32)[:16]
    second[3] = 0  # stays zero
    source = MemoryTensors(
        {
            "first.weight": torch.eye(48)[:32] * 3.3,
            "first.bias": torch.arange(32.0),
            "second.weight": second,
            "second.bias": torch.zeros(16),
        }
    )
    ranges = {"first": 448.0, "second": 700.0}
    executor = export_module(TwoLinears(), source, tmp_path, Precision.FP8, ranges)
    (found,) = run_exported(executor, {"tokens": x.shape[1]}, x)
    fake = TwoLinears()
    fake.load(source)
    fake.second.weight.data[0, 3] = 1.0
    round_linears(fake, ranges)
    fake.second.weight.data[:, 3] = 0.0
    assert torch.equal(found, fake(x))
    assert (found[..., 3] == 0).all()
    assert found.max() == 700


def test_nodes_stand_around_each_matmul_and_nowhere_else(case: Case) -> None:
    graph, linears = case.graph, set(case.ranges)
    assert len(linears) == 4 * 8 + 2 * 2
    made = {output: node for node in graph.node for output in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("QuantizeLinear") == len(linears)
    assert kinds.count("DequantizeLinear") == 2 * len(linears)
    dtypes = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for linear in linears:
        assert dtypes[f"{linear}.weight"] == onnx.TensorProto.FLOAT8E4M3FN
        (matrix,) = users[f"{linear}.weight"]
        assert list(matrix.input) == [f"{linear}.weight", f"{linear}.weight_scale"]
        assert [(a.name, a.i) for a in matrix.attribute] == [("axis", 1)]
        (product,) = users[matrix.output[0]]
        assert product.op_type == "MatMul"
        assert product.input[1] == matrix.output[0]
        wide = made[product.input[0]]
        narrow = made[wide.input[0]]
        assert [wide.op_type, narrow.op_type] == ["DequantizeLinear", "QuantizeLinear"]
        assert wide.input[1] == narrow.input[1] == f"{linear}.input_scale"
        assert [node.name for node in users[wide.output[0]]] == [product.name]
        assert [node.name for node in users[narrow.output[0]]] == [wide.name]
        assert dtypes[narrow.input[2]] == onnx.TensorProto.FLOAT8E4M3FN


def test_norms_and_softmax_are_not_quantised(case: Case) -> None:
    """What LayerNorms, RMS norms and attentions read comes from no rounding; what a LayerNorm gives
    may be rounded for the linear that reads it."""
    made = {output: node for node in case.graph.node for output in node.output}
    seen = set()
    for node in case.graph.node:
        if node.op_type in ("LayerNormalization", "RMSNormalization", "Attention", "Softmax"):
            seen.add(node.op_type)
            sources = {made[name].op_type for name in node.input if name in made}
            assert not {"QuantizeLinear", "DequantizeLinear"} & sources
    assert seen == {"LayerNormalization", "RMSNormalization", "Attention"}
    (query,) = (n for n in case.graph.node if n.name == "blocks.0.cross_attn.q.input_e4m3")
    assert made[query.input[0]].op_type == "LayerNormalization"
