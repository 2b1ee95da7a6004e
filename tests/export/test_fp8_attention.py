"""FP8 self attention: what its nodes are, and that ONNX Runtime computes what rounding in torch
gives."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from e4m3_rounding import by_head, narrow_others, round_linears, rounded_attention
from exported import export_module, run_exported
from torch import nn

from wan_trt.calibration.watching import watch
from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.engine.ort import OrtExecutor
from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graph import trace
from wan_trt.export.graphs import plan
from wan_trt.export.modeling.attention import Attention
from wan_trt.export.modeling.denoiser import Denoiser
from wan_trt.export.modeling.module import ExportModule, Linear, WeightRule, default_rules
from wan_trt.export.precision import Precision
from wan_trt.export.quantize import nodes
from wan_trt.export.quantize.attention_inputs import OPERANDS, AttentionInput, attention_inputs
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.tensors import MemoryTensors

HEADS, WIDTH = 3, 16
DIM = HEADS * WIDTH


class OneAttention(ExportModule):
    """The self attention of block 0 on its own: query, key and value are inputs."""

    example_sizes: Mapping[str, int] = {"tokens": 5}

    def __init__(self) -> None:
        super().__init__()
        parts = nn.ModuleDict({"attention": Attention(HEADS), "o": Linear(DIM, DIM)})
        self.blocks = nn.ModuleList([nn.ModuleDict({"self_attn": parts})])
        rows = (1, "tokens", DIM)
        self.spec = GraphSpec(
            tuple(TensorSpec(name, "float32", rows) for name in ("query", "key", "value")),
            (TensorSpec("mixed", "float32", rows),),
        )

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        parts = self.get_submodule("blocks.0.self_attn")
        assert isinstance(parts, nn.ModuleDict)
        result: torch.Tensor = parts["o"](parts["attention"](query, key, value))
        return result

    def rules(self) -> dict[str, WeightRule]:
        return default_rules(self)


@pytest.mark.parametrize("tokens", [1, 24])
def test_one_attention_rounds_as_torch_does(tmp_path: Path, tokens: int) -> None:
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(1, tokens, DIM, generator=generator) * 3 for _ in range(3))
    ranges = {"query": 2.0, "key": 8.0, "value": 6.0}
    scaled = query / WIDTH**0.5
    for x, name in ((scaled, "query"), (key, "key"), (value, "value")):
        assert tokens == 1 or x.abs().max() > ranges[name]  # some saturate
    stem = "blocks.0.self_attn"
    source = MemoryTensors({f"{stem}.o.weight": torch.eye(DIM), f"{stem}.o.bias": torch.zeros(DIM)})
    named = {f"{stem}.attention.{name}": greatest for name, greatest in ranges.items()}
    rounding = Rounding(inputs=frozenset(named))
    executor = export_module(OneAttention(), source, tmp_path, Precision.FP8, rounding, named)
    (found,) = run_exported(executor, {"tokens": tokens}, query, key, value)
    error = (found - rounded_attention(query, key, value, HEADS, ranges)).abs()
    # Where float32 differs in its last digit a weight may become the E4M3 number beside.
    assert (error < 1e-5).float().mean() > 0.95
    assert error.max() < 0.03
    q, k, v = (by_head(x, HEADS) for x in (query, key, value))
    exact = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    assert (exact - found).abs().max() > 0.1


LINEARS = frozenset(f"blocks.{block}.self_attn.{part}" for block in (0, 1) for part in "qkvo")
BLOCKS = (1, 2)  # of four: in one of them q, k, v and o are FP8 too
SIZES = {"frames": 3, "rows": 4, "columns": 5}
OTHER_SIZES = {"frames": 2, "rows": 2, "columns": 4}


@dataclass(frozen=True)
class Case:
    """A tiny denoiser, the ranges that it has on random inputs, and what it is exported to with FP8
    attention in BLOCKS beside the LINEARS."""

    checkpoint: Checkpoint
    ranges: Mapping[str, float]
    executor: OrtExecutor
    graph: onnx.GraphProto


def loaded(checkpoint: Checkpoint) -> Denoiser:
    """The denoiser with its weights, in float32."""
    shapes = plan(checkpoint).expert["denoiser"]
    assert isinstance(shapes, Denoiser)
    module = Denoiser(shapes.sizes, shapes.image, shapes.face)
    module.load(checkpoint.experts[ExpertName.HIGH].tensors)
    return module


def random_inputs(module: Denoiser, sizes: Mapping[str, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.tensor([437])
        if spec.dtype == "int64"
        else torch.randn(spec.shape(sizes), generator=generator)
        for spec in module.spec.inputs
    ]


def measured(module: Denoiser, names: Collection[str]) -> dict[str, float]:
    """A little less than the greatest magnitudes, so that some values saturate."""
    ranges: dict[str, float] = {}

    def note(tensor: torch.Tensor, name: str) -> None:
        ranges[name] = float(tensor.abs().amax()) * 0.9

    for name in names:
        watch(module, name, partial(note, name=name))
    module(*random_inputs(module, SIZES))
    return ranges


@pytest.fixture(scope="module", params=["tiny_checkpoint", "i2v_checkpoint"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    checkpoint = Checkpoint.open(request.getfixturevalue(request.param))
    ranges = measured(loaded(checkpoint), sorted(LINEARS | attention_inputs(BLOCKS)))
    folder = tmp_path_factory.mktemp("fp8_attention")
    source = checkpoint.experts[ExpertName.HIGH].tensors
    rounding = Rounding.of_graph("denoiser", LINEARS, BLOCKS)
    executor = export_module(loaded(checkpoint), source, folder, Precision.FP8, rounding, ranges)
    graph = onnx.load(folder / "module.onnx", load_external_data=False).graph
    return Case(checkpoint, ranges, executor, graph)


@pytest.mark.parametrize("sizes", [SIZES, OTHER_SIZES])
def test_a_denoiser_rounds_as_torch_does(
    case: Case, sizes: Mapping[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At two numbers of tokens: they are symbols in the graph."""
    plain, fake = loaded(case.checkpoint), loaded(case.checkpoint)
    for module in (plain, fake):
        narrow_others(module, LINEARS)
        round_linears(module, LINEARS, case.ranges)
    for block in BLOCKS:
        attention = fake.get_submodule(f"blocks.{block}.self_attn.attention")
        assert isinstance(attention, Attention)
        names = {operand: AttentionInput(block, operand).name for operand in OPERANDS}
        ranges = {operand: case.ranges[name] for operand, name in names.items()}
        rounding_attention = partial(rounded_attention, heads=attention.heads, ranges=ranges)
        monkeypatch.setattr(attention, "forward", rounding_attention)
    inputs = random_inputs(fake, sizes)
    (velocity,) = run_exported(case.executor, sizes, *inputs)
    error = (velocity - fake(*inputs)).abs()
    rounding = (velocity - plain(*inputs)).abs()
    assert (error < 5e-5).float().mean() > 0.9
    assert error.max() < 0.1 * rounding.max()
    assert rounding.max() > 0.01


class Edges:
    """Who made each tensor of a graph, and who reads it."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.made = {output: node for node in graph.node for output in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def rounded_by(self, name: str) -> tuple[str, str]:
        """The scale of the Q/DQ pair that the tensor comes out of, and what goes into it."""
        wide = self.made[name]
        narrow = self.made[wide.input[0]]
        assert [wide.op_type, narrow.op_type] == ["DequantizeLinear", "QuantizeLinear"]
        assert wide.input[1] == narrow.input[1]
        return narrow.input[1], narrow.input[0]

    def only_reader(self, name: str) -> onnx.NodeProto:
        (reader,) = self.readers[name]
        return reader


def test_all_four_are_rounded_in_these_blocks(case: Case) -> None:
    """Each DequantizeLinear feeds its MatMul directly; no softmax is rounded alone."""
    edges = Edges(case.graph)
    softmaxes = [node for node in case.graph.node if node.op_type == "Softmax"]
    assert len(softmaxes) == len(BLOCKS)
    constants = {tensor.name: tensor for tensor in case.graph.initializer}
    for block, softmax in zip(BLOCKS, softmaxes, strict=True):
        module = f"blocks.{block}.self_attn.attention"
        scores = edges.made[softmax.input[0]]
        query, key = (edges.rounded_by(name) for name in scores.input)
        assert query[0] == f"{module}.query.input_scale"
        assert key[0] == f"{module}.key.input_scale"
        narrow = edges.only_reader(softmax.output[0])
        wide = edges.only_reader(narrow.output[0])
        product = edges.only_reader(wide.output[0])
        assert [scores.op_type, product.op_type] == ["MatMul", "MatMul"]
        scale, source = edges.rounded_by(product.input[0])
        assert source == softmax.output[0]
        assert onnx.numpy_helper.to_array(constants[scale]) == np.float32(1 / 448)
        assert edges.rounded_by(product.input[1])[0] == f"{module}.value.input_scale"
        by_head = edges.made[query[1]]
        scaled = edges.made[edges.made[by_head.input[0]].input[0]]
        assert [by_head.op_type, scaled.op_type] == ["Transpose", "Mul"]
        assert edges.made[scaled.input[0]].op_type == "RotaryEmbedding"


def test_other_attentions_are_as_they_were(case: Case) -> None:
    """Self attention of other blocks, and all cross attention."""
    module = plan(case.checkpoint).expert["denoiser"]
    before = [node for node in trace(module).graph if node.op_type == "Attention"]
    attentions = [node for node in case.graph.node if node.op_type == "Attention"]
    assert len(attentions) == len(before) - len(BLOCKS)
    edges = Edges(case.graph)
    for node in attentions:
        sources = {edges.made[name].op_type for name in node.input if name in edges.made}
        assert not {"QuantizeLinear", "DequantizeLinear"} & sources


def test_half_an_attention_is_refused() -> None:
    model = trace(OneAttention())
    names = attention_inputs([0])
    for name in names:
        with pytest.raises(RuntimeError, match="whole or not at all"):
            nodes.insert(model, Rounding(inputs=names - {name}))
    assert [node.op_type for node in model.graph if "Quantize" in node.op_type] == []
