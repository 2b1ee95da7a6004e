"""FP8 graphs: their nodes, and that ONNX Runtime computes what rounding in torch gives."""

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
from wan_trt.export.modeling.module import ExportModule, Linear, WeightRule, default_rules
from wan_trt.export.precision import Precision
from wan_trt.export.quantize.policy import candidates
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.tensors import MemoryTensors

SIZES = {"frames": 3, "latents": 2, "rows": 4, "columns": 5}


def _module(graph: str, checkpoint: Checkpoint) -> ExportModule:
    """The high-noise expert's, with its weights in float32."""
    module = plan(checkpoint).expert[graph].empty_on("cpu")
    module.load(checkpoint.experts[ExpertName.HIGH].tensors)
    return module


@dataclass(frozen=True)
class Case:
    """A tiny graph, random inputs, the ranges that they have, and what its FP8 graph gives."""

    name: str
    checkpoint: Checkpoint
    inputs: tuple[torch.Tensor, ...]
    rounding: Rounding
    ranges: dict[str, float]
    outputs: tuple[torch.Tensor, ...]
    graph: onnx.GraphProto

    def module(self) -> ExportModule:
        return _module(self.name, self.checkpoint)


@pytest.fixture(scope="module")
def case(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return _case("denoiser", tiny_checkpoint, tmp_path_factory.mktemp("fp8"))


def _case(name: str, tiny_checkpoint: Path, folder: Path) -> Case:
    checkpoint = Checkpoint.open(tiny_checkpoint)
    module = _module(name, checkpoint)
    generator = torch.Generator().manual_seed(1)
    inputs = tuple(
        torch.tensor([437])
        if spec.dtype == "int64"
        else torch.randn(spec.shape(SIZES), generator=generator)
        for spec in module.spec.inputs
    )
    ranges: dict[str, float] = {}
    rounding = Rounding.of_graph(name, candidates({name: module})[name])
    for linear in rounding.inputs:

        def note(_: nn.Module, args: tuple[torch.Tensor], linear: str = linear) -> None:
            ranges[linear] = float(args[0].abs().amax()) * 0.9  # some values saturate

        module.get_submodule(linear).register_forward_pre_hook(note)
    module(*inputs)
    source = checkpoint.experts[ExpertName.HIGH].tensors
    executor = export_module(
        _module(name, checkpoint), source, folder, Precision.FP8, rounding, ranges
    )
    outputs = run_exported(executor, SIZES, *inputs)
    graph = onnx.load(folder / "module.onnx", load_external_data=False).graph
    return Case(name, checkpoint, inputs, rounding, ranges, outputs, graph)


def _rounded_and_plain(case: Case) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """The outputs in torch with the case's linears as FP8 holds them, and without; other linears
    are bfloat16."""
    plain, fake = case.module(), case.module()
    for module in (plain, fake):
        narrow_others(module, case.rounding.weights)
    round_linears(fake, case.rounding.weights, case.ranges)
    return _outputs(fake, case.inputs), _outputs(plain, case.inputs)


def _outputs(module: ExportModule, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    found = module(*inputs)
    return found if isinstance(found, tuple) else (found,)


def test_it_computes_what_rounding_in_torch_gives(case: Case) -> None:
    (expected,), (without,) = _rounded_and_plain(case)
    (velocity,) = case.outputs
    error, rounding = (velocity - expected).abs(), (without - expected).abs()
    # Where float32 differs in its last digit an input may become the E4M3 number beside.
    assert (error < 5e-5).float().mean() > 0.9
    assert error.max() < 0.05 * rounding.max()
    assert rounding.max() > 0.1


@pytest.mark.parametrize("name", ["text_context", "image_context", "face_context"])
def test_contexts_compute_what_rounding_in_torch_gives(
    name: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Their matrices are rounded, what they read is not."""
    case = _case(name, tiny_checkpoint, tmp_path)
    kinds = [node.op_type for node in case.graph.node]
    assert "QuantizeLinear" not in kinds
    assert kinds.count("DequantizeLinear") == len(case.rounding.weights) > 0
    stored = {tensor.name: tensor.data_type for tensor in case.graph.initializer}
    for linear in case.rounding.weights:
        assert stored[f"{linear}.weight"] == onnx.TensorProto.FLOAT8E4M3FN
        assert f"{linear}.weight_scale" in stored
    assert not [parameter for parameter in stored if parameter.endswith(".input_scale")]
    for found, expected, without in zip(case.outputs, *_rounded_and_plain(case), strict=True):
        error, rounding = (found - expected).abs(), (without - expected).abs()
        assert (error < 5e-5).float().mean() > 0.9
        assert error.max() < rounding.max()
        assert rounding.mean() > 0.003


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
    rounding = Rounding(frozenset(ranges), frozenset(ranges))
    executor = export_module(TwoLinears(), source, tmp_path, Precision.FP8, rounding, ranges)
    (found,) = run_exported(executor, {"tokens": x.shape[1]}, x)
    fake = TwoLinears()
    fake.load(source)
    fake.second.weight.data[0, 3] = 1.0
    round_linears(fake, ranges, ranges)
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
