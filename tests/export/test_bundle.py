"""Bundles: what an export leaves behind, and what opening one refuses."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wan_trt.engine.bundle import Bundle, sha256_file
from wan_trt.engine.errors import (
    BundleError,
    CheckpointError,
    InputError,
    LoraError,
    ResourceError,
)
from wan_trt.engine.geometry import FaceGeometry
from wan_trt.engine.manifest import MANIFEST, SCHEMA, Manifest
from wan_trt.engine.request import ExpertName
from wan_trt.export import bundle_writer
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.lora.fold import FoldedTensors, read_files
from wan_trt.export.lora.spec import LoraSpec, LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.progress import Stage
from wan_trt.export.synthetic.checkpoint import T5_FILE
from wan_trt.export.synthetic.lora import write_musubi_lora
from wan_trt.export.synthetic.sizes import TINY

HIGH, LOW = ExpertName.HIGH, ExpertName.LOW


def _weights(bundle: Bundle, graph: str, expert: ExpertName | None) -> dict[str, NDArray[Any]]:
    """The parameters of a graph as the runtime would find them."""
    tensors = bundle.manifest.graphs[graph].weights[bundle.weight_set(graph, expert)]
    return {
        name: np.fromfile(bundle.weights_folder / tensor.sha256, np.float32).reshape(tensor.shape)
        for name, tensor in tensors.items()
    }


@pytest.fixture
def damaged(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "bundle"))


def _edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def test_weight_sets_differ_only_where_loras_differ(tiny_bundle: Bundle) -> None:
    sets = {name: set(entry.weights) for name, entry in tiny_bundle.manifest.graphs.items()}
    two = {name for name, found in sets.items() if found == {"high", "low"}}
    assert two == {"text_context", "denoiser"}  # `low` changes keys of the text
    assert all(found == {"shared"} for name, found in sets.items() if name not in two)


def test_experts_differ_in_the_touched_tensors_only(tiny_bundle: Bundle) -> None:
    high, low = (_weights(tiny_bundle, "denoiser", expert) for expert in (HIGH, LOW))
    touched = {
        "blocks.0.self_attn.q.weight",
        "blocks.1.self_attn.q.weight",
        "blocks.0.self_attn.o.weight",
    }
    assert {name for name in high if not np.array_equal(high[name], low[name])} == touched
    stored = tiny_bundle.manifest.graphs["denoiser"].weights
    files = {weight_set: tiny_bundle.tensor_files("denoiser", weight_set) for weight_set in stored}
    assert {name for name in high if files["high"][name] != files["low"][name]} == touched


def test_weights_are_the_folded_ones(
    tiny_bundle: Bundle, tiny_checkpoint: Path, tiny_loras: LoraStacks
) -> None:
    dit = Checkpoint.open(tiny_checkpoint).experts[HIGH].tensors
    for expert, name, stack in (
        (HIGH, "blocks.1.self_attn.q.weight", tiny_loras.high),
        (HIGH, "blocks.0.self_attn.o.weight", ()),
        (LOW, "blocks.0.self_attn.o.weight", tiny_loras.low),
    ):
        expected = FoldedTensors(dit, read_files(stack, dit)).read(name).t().numpy()
        assert np.array_equal(_weights(tiny_bundle, "denoiser", expert)[name], expected)
    name = "img_emb.proj.1.weight"
    expected = FoldedTensors(dit, read_files(tiny_loras.both, dit)).read(name).t().numpy()
    found = _weights(tiny_bundle, "image_context", None)[name]
    assert np.array_equal(found, expected)
    assert not np.array_equal(found, dit.read(name).t().numpy())


def test_without_loras_there_is_one_weight_set(golden_bundle: Bundle) -> None:
    graphs = golden_bundle.manifest.graphs
    assert all(set(entry.weights) == {"shared"} for entry in graphs.values())
    assert not (golden_bundle.path / "lora_report.json").exists()


def test_the_lora_report(tiny_bundle: Bundle) -> None:
    reports = json.loads((tiny_bundle.path / "lora_report.json").read_text())
    found = [(entry["expert"], entry["file"]) for entry in reports]
    assert found == [
        ("high", "both.safetensors"),
        ("high", "high.safetensors"),
        ("low", "both.safetensors"),
        ("low", "low.safetensors"),
    ]
    for entry in reports:
        for module in entry["modules"].values():
            assert 0.05 < module["norm_ratio"] < 0.5
    stated = tiny_bundle.manifest.provenance.loras
    assert [(entry["expert"], entry["file"]) for entry in stated] == found


def test_the_prompts_are_stored_as_text_rows(tiny_bundle: Bundle) -> None:
    rows = load_file(tiny_bundle.path / "prompts.safetensors")
    assert set(rows) == set(tiny_bundle.manifest.prompts) == {"positive", "negative"}
    for tensor in rows.values():
        assert tensor.dtype == np.float32
        assert tensor.shape[1] == TINY.text_dim
        assert 1 < tensor.shape[0] <= TINY.text_tokens
        assert 0.1 < tensor.std() < 10


def test_the_manifest_comes_back_as_it_was_written(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Bundle.open(tiny_bundle.path).manifest == manifest
    assert manifest.schema == SCHEMA
    assert manifest.geometry.head_dim == TINY.head_dim
    assert manifest.geometry.face == FaceGeometry(2, TINY.face_size, TINY.motion_dim)
    files = {
        str(path.relative_to(tiny_bundle.path))
        for path in tiny_bundle.path.rglob("*")
        if path.is_file()
    }
    assert set(manifest.files) == files - {MANIFEST}
    assert "config.json" in manifest.provenance.checkpoint


def _weights_file(folder: Path) -> Path:
    files = Bundle.open(folder).tensor_files("denoiser", "high")
    return folder / "weights" / files["blocks.1.ffn.0.weight"]


def test_hashes_find_a_changed_byte(damaged: Path) -> None:
    Bundle.open(damaged).verify()
    weights = _weights_file(damaged)
    with weights.open("r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(BundleError, match=f"{weights.name} has sha256"):
        Bundle.open(damaged).verify()


def test_a_truncated_or_missing_weights_file(damaged: Path) -> None:
    file = _weights_file(damaged)
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(BundleError, match=rf"{file.name} has \d+ bytes; expected \d+ bytes"):
        Bundle.open(damaged)
    file.unlink()
    with pytest.raises(BundleError, match=f"{file.name} is missing"):
        Bundle.open(damaged)
    _edit_manifest(damaged, lambda m: m["files"].pop(f"weights/{file.name}"))
    with pytest.raises(BundleError, match=r"no file for blocks\.1\.ffn\.0\.weight of graph den"):
        Bundle.open(damaged)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=SCHEMA + 1), f"has schema {SCHEMA + 1}"),
        (lambda m: m.update(schema="one"), "has schema 'one'"),
        (lambda m: m.update(schema=SCHEMA - 1), f"has schema {SCHEMA - 1}"),
        (
            lambda m: m.update(model="wan9"),
            "model is 'wan9'; expected wan2.2-animate or wan2.2-i2v",
        ),
        (lambda m: m["geometry"]["face"].update(tail=1), r"geometry\.face has unknown keys"),
        (lambda m: m.update(colour="red"), r"unknown keys \['colour'\]"),
        (lambda m: m["geometry"].update(tail=1), r"geometry has unknown keys \['tail'\]"),
        (lambda m: m["geometry"].pop("dim"), r"geometry lacks \['dim'\]"),
        (lambda m: m.update(boundary="high"), r"boundary is 'high'"),
        (lambda m: m["graphs"].update(denoiser=3), r"graphs\.denoiser is int"),
        (lambda m: m.update(graphs=None), r"graphs is None; expected an object"),
        (lambda m: m["graphs"]["denoiser"].update(inputs=7), r"inputs is 7; expected a list"),
        (lambda m: m["graphs"]["denoiser"].update(inputs="abc"), r"inputs is 'abc'"),
        (lambda m: m.pop("graphs"), r"lacks \['graphs'\]"),
        (
            lambda m: m["files"].update({"../victim": {"sha256": "0", "nbytes": 1}}),
            r"names the file \.\./victim; expected files inside the bundle",
        ),
    ],
)
def test_a_manifest_that_this_version_cannot_read(
    damaged: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    _edit_manifest(damaged, change)
    with pytest.raises(BundleError, match=message):
        Bundle.open(damaged)


def test_folders_that_are_no_bundle(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        Bundle.open(tmp_path / "nowhere")
    (tmp_path / "folder" / MANIFEST).mkdir(parents=True)
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        Bundle.open(tmp_path / "folder")
    for content in ("", "[]", "{}"):
        (damaged / MANIFEST).write_text(content)
        with pytest.raises(BundleError):
            Bundle.open(damaged)
    (damaged / MANIFEST).write_bytes(b'{"schema": "\xff"}')
    with pytest.raises(BundleError, match=r"manifest\.json is not UTF-8"):
        Bundle.open(damaged)


def test_an_existing_folder_is_not_touched(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(InputError, match="exists; expected a new folder"):
        export_bundle(tiny_checkpoint, out)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "mine"]
    with pytest.raises(InputError, match="does not exist"):
        export_bundle(tiny_checkpoint, tmp_path / "no" / "such" / "folder")


def test_a_lora_that_does_not_fit_leaves_nothing_behind(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    stacks = LoraStacks(low=(LoraSpec(tmp_path / "absent.safetensors"),))
    with pytest.raises(LoraError, match=r"absent\.safetensors"):
        export_bundle(tiny_checkpoint, tmp_path / "bundle", ExportOptions(stacks))
    assert list(tmp_path.iterdir()) == []


def test_nan_weights_leave_nothing_behind(tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    tensors = torch.load(checkpoint / T5_FILE, weights_only=True)
    tensors["norm.weight"][3] = torch.nan
    torch.save(tensors, checkpoint / T5_FILE)
    with pytest.raises(CheckpointError, match=r"norm\.weight contains NaN or infinity"):
        export_bundle(checkpoint, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_a_lora_for_what_the_experts_share_is_unmatched(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    motion = "motion_encoder.enc.fc.0"
    target = f"{motion}.weight"
    path = write_musubi_lora(
        tmp_path / "motion.safetensors", TINY, targets=["blocks.0.self_attn.q", motion]
    )
    spec = LoraSpec(path)
    dit = Checkpoint.open(tiny_checkpoint).experts[HIGH].tensors
    assert target in FoldedTensors(dit, read_files((spec,), dit)).targets  # as `wan-trt fold`
    stacks, out = LoraStacks(both=(spec,)), tmp_path / "bundle"
    with pytest.raises(LoraError, match=rf"{target}, which no expert's graph reads") as raised:
        export_bundle(tiny_checkpoint, out, ExportOptions(stacks))
    assert len(raised.value.keys) == 3
    assert not out.exists()
    options = ExportOptions(stacks, allow_unmatched=True, reuse=(tiny_bundle.path,))
    bundle = export_bundle(tiny_checkpoint, out, options)
    for entry in json.loads((bundle.path / "lora_report.json").read_text()):
        assert sorted(entry["unmatched_keys"]) == sorted(raised.value.keys)
        assert list(entry["modules"]) == ["blocks.0.self_attn.q.weight"]


def test_a_full_disk_is_a_resource_error(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)  # how every stored tensor gets its name
    with pytest.raises(ResourceError, match="No space left") as raised:
        export_bundle(tiny_checkpoint, tmp_path / "bundle")
    assert raised.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_space_is_asked_for_before_weights_are_written(
    tiny_checkpoint: Path, tmp_path: Path, tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(
        4 * np.prod(tensor.shape, dtype=int)
        for graph in Bundle.open(tiny_bundle.path).manifest.graphs.values()
        for tensor in next(iter(graph.weights.values())).values()
    )
    usage = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    seen: list[Stage] = []
    with pytest.raises(ResourceError, match=rf"needs {needed} bytes and {needed - 1} are free"):
        export_bundle(
            tiny_checkpoint, tmp_path / "bundle", on_progress=lambda p: seen.append(p.stage)
        )
    assert Stage.WEIGHTS not in seen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["/proc/bundle", "x" * 300])
def test_places_that_cannot_be_written(out: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        export_bundle(tiny_checkpoint, tmp_path / out)


def test_weights_are_not_read_again_to_be_hashed(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def hashed(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr(bundle_writer, "sha256_file", hashed)
    options = ExportOptions(reuse=(tiny_bundle.path,))
    export_bundle(tiny_checkpoint, tmp_path / "bundle", options).verify()
    assert read
    assert not [path for path in read if path.parent.name == "weights"]


@pytest.mark.parametrize("boundary", [-0.1, 1.1, float("nan")])
def test_a_boundary_is_a_share(boundary: float) -> None:
    with pytest.raises(InputError, match="boundary"):
        ExportOptions(boundary=boundary)
