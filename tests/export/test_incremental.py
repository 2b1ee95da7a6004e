"""Exporting again: what changes is made, all else is taken as it is."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import CheckpointError, InputError, LoraError
from wan_trt.engine.manifest import StoredTensor
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.lora.spec import LoraSpec, LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.progress import Progress, Stage


@pytest.fixture
def again(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be exported to again."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / "bundle"))


def _weaker(stacks: LoraStacks, strength: float = 0.5) -> LoraStacks:
    """The LoRAs of the low-noise expert at another strength."""
    return replace(stacks, low=tuple(replace(spec, strength=strength) for spec in stacks.low))


def _files(bundle: Bundle | Path) -> dict[str, int]:
    """Stored tensors by name, with their inodes."""
    folder = (bundle if isinstance(bundle, Path) else bundle.path) / "weights"
    return {file.name: file.stat().st_ino for file in folder.iterdir()}


def _of(bundle: Bundle, graph: str, weight_set: str, parameter: str) -> StoredTensor:
    return bundle.manifest.graphs[graph].weights[weight_set][parameter]


def test_another_strength_makes_only_what_it_touches(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tiny_loras: LoraStacks, again: Path
) -> None:
    before = _files(again)
    said: list[Progress] = []
    bundle = export_bundle(tiny_checkpoint, again, ExportOptions(_weaker(tiny_loras)), said.append)
    written = {p.text for p in said if p.stage is Stage.WEIGHTS}
    assert written == {
        "denoiser blocks.0.self_attn.o.weight",
        "text_context blocks.2.cross_attn.k.weight",
    }
    after = _files(bundle)
    assert len(after.keys() - before.keys()) == 2
    assert all(after[name] == before[name] for name in after.keys() & before.keys())
    assert bundle.path == again
    bundle.verify()
    name = "blocks.0.self_attn.o.weight"
    old, new = (_of(b, "denoiser", "low", name) for b in (tiny_bundle, bundle))
    assert [fold.changes[0].strength for fold in new.made.folds] == [0.5]
    assert new.norms[0].change == pytest.approx(old.norms[0].change / 2)
    weights = [np.fromfile(again / "weights" / new.sha256, np.float32)]
    weights.append(np.fromfile(tiny_bundle.weights_folder / old.sha256, np.float32))
    base = _of(tiny_bundle, "denoiser", "high", name).sha256
    weights.append(np.fromfile(tiny_bundle.weights_folder / base, np.float32))
    np.testing.assert_allclose(weights[0], (weights[1] + weights[2]) / 2, atol=1e-6)


def test_an_incremental_bundle_is_the_one_that_a_full_export_makes(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tiny_loras: LoraStacks, again: Path
) -> None:
    """There and back again: reports, norms and hashes too."""
    weaker = ExportOptions(_weaker(tiny_loras))
    assert export_bundle(tiny_checkpoint, again, weaker).manifest != tiny_bundle.manifest
    back = export_bundle(tiny_checkpoint, again, ExportOptions(tiny_loras))
    assert back.manifest == tiny_bundle.manifest
    report = "lora_report.json"
    assert (back.path / report).read_bytes() == (tiny_bundle.path / report).read_bytes()


def test_the_same_loras_the_other_way_round_make_nothing(
    tiny_checkpoint: Path, tiny_loras: LoraStacks, again: Path
) -> None:
    """The stack that one expert had is the other's now: all tensors are there."""
    swapped = LoraStacks(tiny_loras.both, high=tiny_loras.low, low=tiny_loras.high)
    before = _files(again)
    bundle = export_bundle(tiny_checkpoint, again, ExportOptions(swapped))
    assert _files(bundle) == before


def test_another_bundle_lends_its_tensors(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tiny_loras: LoraStacks, tmp_path: Path
) -> None:
    options = ExportOptions(_weaker(tiny_loras), reuse=(tiny_bundle.path,))
    lent, made = (
        _files(tiny_bundle),
        _files(export_bundle(tiny_checkpoint, tmp_path / "bundle", options)),
    )
    assert {name: made[name] for name in made.keys() & lent.keys()} == {
        name: lent[name] for name in made.keys() & lent.keys()
    }
    assert len(made.keys() - lent.keys()) == 2
    shutil.rmtree(tmp_path / "bundle")
    assert _files(tiny_bundle) == lent


def test_a_failure_leaves_the_bundle_as_it_was(
    tiny_checkpoint: Path, tiny_bundle: Bundle, again: Path, tmp_path: Path
) -> None:
    stacks = LoraStacks(low=(LoraSpec(tmp_path / "absent.safetensors"),))
    with pytest.raises(LoraError, match="absent"):
        export_bundle(tiny_checkpoint, again, ExportOptions(stacks))
    assert list(tmp_path.iterdir()) == [again]
    found = Bundle.open(again)
    found.verify()
    assert found.manifest == tiny_bundle.manifest


def test_a_bundle_of_another_checkpoint_is_not_replaced(
    tiny_checkpoint: Path, again: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    config = other / "config.json"
    config.write_text(config.read_text() + "\n")
    before = _files(again)
    with pytest.raises(InputError, match="is a bundle of another checkpoint") as raised:
        export_bundle(other, again)
    assert raised.value.exit_code == 2
    assert _files(again) == before


def test_a_file_of_another_size_or_time_is_hashed_again(
    tiny_checkpoint: Path, tiny_bundle: Bundle, again: Path, tmp_path: Path
) -> None:
    """The same bytes with another time are the same checkpoint; other bytes are not."""
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    shard = next(copy.glob("diffusion_pytorch_model-00001*"))
    os.utime(shard)
    hashed: list[Progress] = []
    bundle = export_bundle(copy, again, on_progress=hashed.append)
    assert {p.total_nbytes for p in hashed if p.stage is Stage.SOURCES} == {shard.stat().st_size}
    sources = bundle.manifest.provenance.checkpoint
    assert sources.keys() == tiny_bundle.manifest.provenance.checkpoint.keys()
    assert sources[shard.name].modified_ns == shard.stat().st_mtime_ns
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match="another checkpoint"):
        export_bundle(copy, again)


def test_a_damaged_bundle_is_not_replaced(tiny_checkpoint: Path, again: Path) -> None:
    next((again / "weights").iterdir()).unlink()
    with pytest.raises(InputError, match=r"is a bundle that cannot be read \(.* is missing"):
        export_bundle(tiny_checkpoint, again)
    assert (again / "manifest.json").exists()


def test_what_is_not_of_the_bundle_is_not_lost(tiny_checkpoint: Path, again: Path) -> None:
    (again / "engines").mkdir()
    (again / "engines" / "a.plan").write_text("mine")
    with pytest.raises(InputError, match=r"holds engines/a\.plan, which is not of the bundle"):
        export_bundle(tiny_checkpoint, again)
    assert (again / "engines" / "a.plan").read_text() == "mine"


def test_a_link_to_a_bundle_stays_a_link(
    tiny_checkpoint: Path, tiny_loras: LoraStacks, again: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "current"
    link.symlink_to(again)
    export_bundle(tiny_checkpoint, link, ExportOptions(_weaker(tiny_loras)))
    assert link.is_symlink()
    assert [path.name for path in link.parent.iterdir()] == ["current"]
    assert {lora["strength"] for lora in Bundle.open(again).manifest.provenance.loras} == {1.0, 0.5}


def test_weights_that_are_links_are_followed(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    """As in a download cache, whose files are links to blobs."""
    cache = Path(shutil.copytree(tiny_bundle.path, tmp_path / "cache"))
    (tmp_path / "blobs").mkdir()
    for file in (cache / "weights").iterdir():
        blob = file.rename(tmp_path / "blobs" / file.name)
        file.symlink_to(Path("..") / ".." / "blobs" / blob.name)
    bundle = export_bundle(tiny_checkpoint, tmp_path / "bundle", ExportOptions(reuse=(cache,)))
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "blobs")
    bundle.verify()


def test_a_checkpoint_that_changes_while_it_is_read(
    tiny_checkpoint: Path, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))
    shard = next(copy.glob("diffusion_pytorch_model-00001*"))

    def disturb(progress: Progress) -> None:
        if progress.stage is Stage.GRAPHS:
            os.utime(shard)

    options = ExportOptions(reuse=(tiny_bundle.path,))
    with pytest.raises(CheckpointError, match="was written to while it was exported"):
        export_bundle(copy, tmp_path / "bundle", options, disturb)
    assert list(tmp_path.iterdir()) == [copy]


def test_a_bundle_does_not_lie_in_its_checkpoint(tiny_checkpoint: Path) -> None:
    with pytest.raises(InputError, match="which is read as the checkpoint"):
        export_bundle(tiny_checkpoint, tiny_checkpoint / "bundle")
    assert not (tiny_checkpoint / "bundle").exists()


def test_why_nothing_is_reused_is_said(
    i2v_bundle: Bundle, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    said: list[str] = []

    class EnoughError(Exception):
        pass

    def listen(progress: Progress) -> None:
        said.append(progress.text)
        if progress.stage is Stage.WEIGHTS:
            raise EnoughError

    options = ExportOptions(reuse=(i2v_bundle.path,))
    with pytest.raises(EnoughError):
        export_bundle(tiny_checkpoint, tmp_path / "bundle", options, listen)
    assert f"nothing is reused of {i2v_bundle.path}: it was made from another checkpoint" in said
