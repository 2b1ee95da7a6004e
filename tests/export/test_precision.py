"""bfloat16 bundles: matrices as checkpoints have them, arithmetic in float32."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from exported import export_module, run_exported
from safetensors.numpy import load_file
from torch._subclasses.fake_tensor import FakeTensorMode

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import run
from wan_trt.engine.ort import load_executor
from wan_trt.engine.prompts import PromptTokenizer
from wan_trt.engine.request import ExpertName
from wan_trt.export import tensor_plan, weights
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graphs import plan
from wan_trt.export.lora.fold import FoldedTensors, read_files
from wan_trt.export.lora.spec import LoraSpec
from wan_trt.export.modeling.umt5 import TextEncoder, TextEncoderSizes
from wan_trt.export.precision import BFLOAT16, FLOAT32, Precision, stored_dtypes
from wan_trt.export.streamed import streamed
from wan_trt.export.synthetic.lora import write_musubi_lora
from wan_trt.export.synthetic.sizes import TINY
from wan_trt.export.tensor_plan import WeightSource, plan_tensors
from wan_trt.export.tensor_store import TensorStore
from wan_trt.export.tensors import MemoryTensors, TensorSource
from wan_trt.export.weights import write_weights


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return Checkpoint.open(tiny_checkpoint)


def _rounded(source: TensorSource) -> MemoryTensors:
    return MemoryTensors({name: source.read(name).bfloat16() for name in source.names()})


def test_matrices_are_narrow_and_all_else_is_not(checkpoint: Checkpoint) -> None:
    contents = plan(checkpoint)
    for graph in contents.shared:
        dtypes = stored_dtypes(graph.module, Precision.BF16)
        if graph.name.startswith(("vae", "motion")):
            assert set(dtypes.values()) == {FLOAT32}
        else:
            assert set(dtypes.values()) == {BFLOAT16, FLOAT32}
    dtypes = stored_dtypes(contents.expert["denoiser"], Precision.BF16)
    assert dtypes["blocks.0.ffn.0.weight"] == dtypes["head.head.weight"] == BFLOAT16
    for name in ("blocks.0.ffn.0.bias", "blocks.0.modulation", "blocks.0.norm3.weight"):
        assert dtypes[name] == FLOAT32
    assert set(stored_dtypes(contents.expert["denoiser"], Precision.FP32).values()) == {FLOAT32}


def test_arithmetic_is_float32_whatever_is_stored(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """With weights that bfloat16 holds exactly, both bundles give the same, and half the bytes."""
    source = _rounded(checkpoint.t5)
    ids = torch.tensor([5, 17, 300, 1])
    rows: list[torch.Tensor] = []
    nbytes = []
    for precision in Precision:
        folder = tmp_path / precision
        folder.mkdir()
        module = TextEncoder(TextEncoderSizes.read(source))
        executor = export_module(module, source, folder, precision)
        rows += run_exported(executor, {"tokens": len(ids)}, ids)
        nbytes.append(sum(file.stat().st_size for file in (folder / "weights").iterdir()))
    assert torch.equal(rows[0], rows[1])
    bias = sum(t.numel() for name, t in module.state_dict().items() if "position_bias" in name)
    assert nbytes[1] - 4 * bias < 0.55 * (nbytes[0] - 4 * bias)


def test_what_is_stored_is_rounded_to_nearest(checkpoint: Checkpoint, tmp_path: Path) -> None:
    module = plan(checkpoint).expert["text_context"]
    dit = checkpoint.experts[next(iter(checkpoint.experts))].tensors
    name = "blocks.1.cross_attn.k.weight"
    value = {n: dit.read(n) * 1.001 for n in dit.names()}
    plans = plan_tensors(
        "g",
        module,
        {"shared": WeightSource("dit", FoldedTensors(MemoryTensors(value)))},
        Precision.BF16,
    )
    stored = write_weights(plans, TensorStore(tmp_path / "weights"), lambda _: None)
    (tensor,) = (t for p, t in stored.items() if p.parameter == name)
    found = np.fromfile(tmp_path / "weights" / tensor.sha256, np.int16).reshape(tensor.shape)
    expected = value[name].t().contiguous().bfloat16().view(torch.int16).numpy()
    assert np.array_equal(found, expected)


def test_large_tables_pass_through_in_rows(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rows or whole, the bytes are the same; and nothing whole is read of what goes in rows."""

    class Watched(MemoryTensors):
        rows: list[str]
        whole: list[str]

        def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
            (self.whole if rows is None else self.rows).append(name)
            return super().read(name, rows)

    t5 = checkpoint.t5
    source = Watched({name: t5.read(name) for name in t5.names()})
    module = TextEncoder(TextEncoderSizes.read(source))
    stored = []
    for folder in ("whole", "rows"):
        source.rows, source.whole = [], []
        sources = {"shared": WeightSource("t5", FoldedTensors(source))}
        plans = plan_tensors("text_encoder", module, sources, Precision.BF16)
        made = write_weights(plans, TensorStore(tmp_path / folder), lambda _: None)
        stored.append({p.parameter: tensor.sha256 for p, tensor in made.items()})
        monkeypatch.setattr(tensor_plan, "_WHOLE_NBYTES", 4096)
        monkeypatch.setattr(weights, "_ROWS_NBYTES", 1000)
    assert stored[0] == stored[1]
    assert source.rows.count("token_embedding.weight") > 3
    assert "token_embedding.weight" not in source.whole
    assert "blocks.0.attn.q.weight" not in source.rows


def test_the_base_is_read_once_for_both_experts(checkpoint: Checkpoint, tmp_path: Path) -> None:
    class Counted(MemoryTensors):
        reads: Counter[str]

        def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
            self.reads[name] += 1
            return super().read(name, rows)

    dit = checkpoint.experts[ExpertName.HIGH].tensors
    base = Counted({name: dit.read(name) for name in dit.names()})
    base.reads = Counter()
    targets = ["blocks.0.ffn.0", "blocks.1.self_attn.q"]
    sources = {}
    for seed, expert in enumerate(ExpertName):
        path = write_musubi_lora(
            tmp_path / f"{expert}.safetensors", TINY, seed=seed, targets=targets
        )
        files = read_files([LoraSpec(path)], base)
        sources[expert.value] = WeightSource("dit", FoldedTensors(base, files))
    module = plan(checkpoint).expert["denoiser"]
    plans = plan_tensors("denoiser", module, sources, Precision.BF16)
    assert sum(plan.parameter == "blocks.0.ffn.0.weight" for plan in plans) == 2
    stored = write_weights(plans, TensorStore(tmp_path / "weights"), lambda _: None)
    assert len({t.sha256 for p, t in stored.items() if p.parameter == "blocks.0.ffn.0.weight"}) == 2
    assert set(base.reads.values()) == {1}


def test_stored_prompts_are_what_the_text_encoder_gives(tiny_bundle: Bundle) -> None:
    """The export runs the encoder layer by layer; the runtime runs its graph."""
    manifest = tiny_bundle.manifest
    tokenizer = PromptTokenizer(tiny_bundle.path / "tokenizer.json", manifest.geometry.text_tokens)
    encoder = load_executor(tiny_bundle, "text_encoder", "shared", threads=1)
    stored = load_file(tiny_bundle.path / "prompts.safetensors")
    for name, text in manifest.prompts.items():
        ids = tokenizer.token_ids(text)
        rows = run(encoder, {"tokens": len(ids)}, token_ids=ids)["text_rows"]
        np.testing.assert_allclose(stored[name], rows, atol=2e-5)
    encoder.close()


def test_a_streamed_module_holds_no_weights(checkpoint: Checkpoint) -> None:
    source = checkpoint.t5
    eager = TextEncoder(TextEncoderSizes.read(source))
    eager.load(source)
    ids = torch.tensor([300, 5, 17, 5, 1])
    with FakeTensorMode(allow_non_fake_inputs=True):
        module = TextEncoder(TextEncoderSizes.read(source))
    with streamed(module, source, stored_dtypes(module, Precision.FP32)):
        torch.testing.assert_close(module(ids), eager(ids))
        assert all(parameter.numel() == 0 for parameter in module.parameters())
    source = _rounded(source)
    eager.load(source)
    with streamed(module, checkpoint.t5, dict.fromkeys(eager.state_dict(), BFLOAT16)):
        torch.testing.assert_close(module(ids), eager(ids))
