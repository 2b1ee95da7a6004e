"""Reading checkpoints: lazily, and with one clear error for each way one can be broken."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graphs import plan
from wan_trt.export.pickled_tensors import PickledTensors
from wan_trt.export.safetensors_files import ShardedTensors
from wan_trt.export.synthetic.checkpoint import CLIP_FILE, INDEX_FILE, T5_FILE, VAE_FILE

SHARD = "diffusion_pytorch_model-00001-of-00003.safetensors"
LAST_SHARD = "diffusion_pytorch_model-00003-of-00003.safetensors"


@pytest.fixture
def broken(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the tiny checkpoint that a test may damage."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def _edit(file: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    pickled = file.suffix == ".pth"
    tensors = torch.load(file, weights_only=True) if pickled else load_file(file)
    change(tensors)
    if pickled:
        torch.save(tensors, file)
    else:
        save_file(tensors, file)


def test_tensors_are_read_when_asked_for(broken: Path) -> None:
    source = ShardedTensors([broken / SHARD])
    before = source.read("patch_embedding.bias")
    _edit(broken / SHARD, lambda tensors: tensors["patch_embedding.bias"].add_(1))
    assert torch.equal(source.read("patch_embedding.bias"), (before.bfloat16() + 1).float())
    assert source.shape("patch_embedding.bias") == before.shape
    assert before.dtype == torch.float32


def test_one_file_without_an_index_is_a_checkpoint_too(broken: Path) -> None:
    shards = sorted(broken.glob("*.safetensors"))
    tensors = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    for file in (*shards, broken / INDEX_FILE):
        file.unlink()
    save_file(tensors, broken / "diffusion_pytorch_model.safetensors")
    assert set(Checkpoint.open(broken).experts[ExpertName.LOW].tensors.names()) == set(tensors)


def test_files_that_the_index_does_not_name_are_not_read(broken: Path) -> None:
    shutil.copyfile(broken / SHARD, broken / "diffusion_pytorch_model-old.safetensors")
    assert len(Checkpoint.open(broken).files) == 8


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (SHARD, SHARD),
        (VAE_FILE, "has no VAE"),
        (CLIP_FILE, "has no CLIP"),
        (T5_FILE, "has no UMT5"),
        ("google/umt5-xxl/tokenizer.json", "tokenizer"),
    ],
)
def test_a_missing_part_is_named(broken: Path, name: str, part: str) -> None:
    (broken / name).unlink()
    with pytest.raises(CheckpointError, match=part):
        Checkpoint.open(broken)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not there"):
        Checkpoint.open(tmp_path / "nowhere")


def test_a_tensor_in_two_files(broken: Path) -> None:
    tensor = load_file(broken / SHARD)["patch_embedding.bias"]
    _edit(broken / LAST_SHARD, lambda tensors: tensors.update({"patch_embedding.bias": tensor}))
    with pytest.raises(CheckpointError, match=rf"patch_embedding\.bias is in {SHARD} and in"):
        Checkpoint.open(broken)


@pytest.mark.parametrize("length", [0, 5, 100, -10])
def test_a_truncated_shard(broken: Path, length: int) -> None:
    data = (broken / SHARD).read_bytes()
    (broken / SHARD).write_bytes(data[:length])
    with pytest.raises(CheckpointError, match=f"{SHARD} cannot be read"):
        Checkpoint.open(broken)


@pytest.mark.parametrize("content", ["no json", "[]", '{"weight_map": ["a"]}', "{}"])
def test_an_index_that_is_none(broken: Path, content: str) -> None:
    (broken / INDEX_FILE).write_text(content)
    with pytest.raises(CheckpointError, match="is no safetensors index"):
        Checkpoint.open(broken)


@pytest.mark.parametrize("content", ["no json", "[]", ""])
def test_a_config_that_is_none(broken: Path, content: str) -> None:
    (broken / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json is no"):
        Checkpoint.open(broken)


@pytest.mark.parametrize("length", [0, 64, -64])
def test_a_truncated_pickle(broken: Path, length: int) -> None:
    data = (broken / VAE_FILE).read_bytes()
    (broken / VAE_FILE).write_bytes(data[:length])
    with pytest.raises(CheckpointError, match=f"{VAE_FILE} cannot be read"):
        Checkpoint.open(broken)


class _Touch:
    """Unpickled carelessly, it creates a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("protocol", ["torch", "pickle"])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, protocol: str) -> None:
    file, trace = tmp_path / "model.pth", tmp_path / "ran"
    if protocol == "torch":
        torch.save({"weight": _Touch(trace)}, file)
    else:
        file.write_bytes(pickle.dumps(_Touch(trace)))
    with pytest.raises(CheckpointError, match="cannot be read"):
        PickledTensors(file)
    assert not trace.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"state_dict": {"weight": torch.zeros(1)}}])
def test_a_pickle_that_is_no_flat_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match="no flat state dict"):
        PickledTensors(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("key", "value"),
    [("dim", 128), ("num_heads", 4), ("num_layers", 5), ("qk_norm", False), ("in_dim", 16)],
)
def test_a_config_that_contradicts_the_tensors(broken: Path, key: str, value: object) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(CheckpointError, match=rf"config\.json says {key} = {value}"):
        plan(Checkpoint.open(broken))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("eps", None),
        ("eps", "x"),
        ("eps", float("nan")),
        ("text_len", "x"),
        ("text_len", 0),
        ("text_len", 1.5),
        ("window_size", 7),
    ],
)
def test_a_config_with_values_that_mean_nothing(broken: Path, key: str, value: object) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(CheckpointError, match=rf"config\.json says {key} = {value!r}"):
        plan(Checkpoint.open(broken))


@pytest.mark.parametrize(
    ("file", "name", "label"),
    [
        (LAST_SHARD, "face_encoder.out_proj.bias", "DiT"),
        (VAE_FILE, "decoder.head.2.bias", "VAE"),
        (CLIP_FILE, "visual.pre_norm.bias", "CLIP"),
        (T5_FILE, "norm.weight", "UMT5"),
    ],
)
def test_tensors_that_are_missing_or_left_over_are_named(
    broken: Path, file: str, name: str, label: str
) -> None:
    _edit(broken / file, lambda tensors: tensors.update({f"{name}_": tensors.pop(name)}))
    bare = name.removeprefix("visual.")
    with pytest.raises(CheckpointError, match=f"{label} in .* lacks {bare}"):
        plan(Checkpoint.open(broken))
    _edit(broken / file, lambda tensors: tensors.update({name: tensors[f"{name}_"].clone()}))
    with pytest.raises(CheckpointError, match=f"{label} .*{bare}_"):
        plan(Checkpoint.open(broken))


def test_a_tensor_that_decides_sizes_is_missing(broken: Path) -> None:
    _edit(broken / SHARD, lambda tensors: tensors.pop("patch_embedding.weight"))
    with pytest.raises(CheckpointError, match="without its patch embedding"):
        plan(Checkpoint.open(broken))


def test_a_pickle_is_read_in_parts(tmp_path: Path) -> None:
    """Views of one storage, transposed tensors and single rows, each read from its place."""
    matrix = torch.arange(24, dtype=torch.float32).reshape(6, 4)
    tensors = {"whole": matrix, "rows": matrix[2:4], "turned": matrix.t(), "half": matrix.half()}
    torch.save(tensors | {"empty": torch.zeros(0, 3), "number": torch.tensor(7.0)}, tmp_path / "f")
    source = PickledTensors(tmp_path / "f")
    for name, tensor in tensors.items():
        assert torch.equal(source.read(name), tensor.float())
        assert torch.equal(source.read(name, slice(1, 2)), tensor[1:2].float())
        assert source.shape(name) == tuple(tensor.shape)
    assert source.read("empty").shape == (0, 3)
    assert source.read("number") == 7


def test_a_pickle_of_the_old_format(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="old format"):
        PickledTensors(path)


def test_a_pickle_of_integers(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3), "b": torch.ones(3, dtype=torch.int8)}, tmp_path / "int.pth")
    with pytest.raises(CheckpointError, match=r"int\.pth: b is int8; expected weights in a float"):
        PickledTensors(tmp_path / "int.pth")


def test_a_shard_that_is_cut_off_after_it_was_opened(tiny_checkpoint: Path, tmp_path: Path) -> None:
    shard = Path(shutil.copy(tiny_checkpoint / SHARD, tmp_path / SHARD))
    source = ShardedTensors([shard])
    name = next(iter(source.names()))
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        source.read(name)
    shard.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        source.read(name)
