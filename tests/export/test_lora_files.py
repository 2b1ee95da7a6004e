"""Adapters on disk: containers, folders saved by PEFT, pickles; what is broken is refused."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_folding import random
from safetensors.torch import save_file

from wan_trt.engine.errors import LoraError
from wan_trt.export.lora.adapter_file import AdapterFile

KEY = "blocks.0.self_attn.q.lora_A.weight"
TENSORS = {KEY: random(3, 5), "blocks.0.self_attn.q.lora_B.weight": random(6, 3)}
DATA = bytes(range(24))
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def _container(header: object, data: bytes = DATA) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _kind(path: Path) -> str:
    with pytest.raises(LoraError) as raised:
        AdapterFile.open(path)
    return raised.value.kind


def test_a_minimal_container(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(_container({"__metadata__": {"format": "pt"}, "a": ENTRY}))
    file = AdapterFile.open(path)
    assert file.shapes == {"a": (2, 3)}
    assert file.metadata == {"format": "pt"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "bad_container"),
        (_container({}, b""), "no_tensors"),
        (_container({"__metadata__": {"a": "b"}}, b""), "no_tensors"),
        (_container({"a": ENTRY}, DATA[:-1]), "bad_container"),
        (_container({"a": ENTRY}, DATA + b"x"), "bad_container"),
        (_container({"a": ENTRY})[:20], "bad_container"),
        (_container([]), "bad_container"),
        (_container(b'{"a": 1'), "bad_container"),
        (_container(b"\xff\xfe"), "bad_container"),
        (_container(b"[" * 100_000), "bad_container"),
        (_container({"a": ENTRY, "b": ENTRY}), "bad_container"),
        (_container({"a": {**ENTRY, "data_offsets": [-1, 23]}}), "bad_container"),
        (_container({"a": {**ENTRY, "data_offsets": [0.0, 24]}}), "bad_container"),
        (_container({"a": {**ENTRY, "shape": [True, 6]}}), "bad_container"),
        (_container({"a": {**ENTRY, "shape": [2, 2]}}), "bad_container"),
        (_container({"a": {**ENTRY, "more": 1}}), "bad_container"),
        (_container({"a": ENTRY, "__metadata__": {"n": 1}}), "bad_container"),
        (_container({"a": {**ENTRY, "dtype": "F31"}}), "unsupported_dtype"),
        (b"<!DOCTYPE html><html>not found</html>", "bad_container"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "bad_container"),
        (pickle.dumps({"a": 1}), "unsafe_pickle"),
        (b"PK\x03\x04 not really an archive", "unsafe_pickle"),
    ],
)
def test_broken_containers(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert _kind(path) == kind


@pytest.mark.parametrize("nbytes", [0x280, 0x4B50, 0x3C])
def test_a_header_whose_length_looks_like_another_format(tmp_path: Path, nbytes: int) -> None:
    """640 is how pickles begin, 19280 is "PK", 60 is "<"."""
    text = json.dumps({"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(_container(text.ljust(nbytes), b""))
    assert path.read_bytes()[:1] in b"\x80P<"
    assert AdapterFile.open(path).shapes == {"a": (0,)}
    path.write_bytes(path.read_bytes()[:-1])
    assert _kind(path) == "bad_container"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert _kind(tmp_path / "absent.safetensors") == "bad_container"


def test_a_folder_saved_by_peft(tmp_path: Path) -> None:
    assert _kind(tmp_path) == "no_tensors"
    save_file(TENSORS, tmp_path / "adapter_model.safetensors")
    assert AdapterFile.open(tmp_path).config is None
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 6, "use_rslora": true}')
    for path in (tmp_path, tmp_path / "adapter_model.safetensors"):
        config = AdapterFile.open(path).config
        assert config is not None
        assert (config.alpha, config.rank_stabilised) == (6.0, True)
    other = tmp_path / "other.json"
    other.write_text('{"lora_alpha": 2}')
    config = AdapterFile.open(tmp_path, other).config
    assert config is not None
    assert config.alpha == 2.0
    with pytest.raises(LoraError, match=r"bad_config: .*absent\.json"):
        AdapterFile.open(tmp_path, tmp_path / "absent.json")


def test_the_configuration_of_a_neighbour_is_not_taken(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "other.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 6}')
    assert AdapterFile.open(tmp_path / "other.safetensors").config is None


@pytest.mark.parametrize(
    "content", [TENSORS, {"state_dict": TENSORS}, {"state_dict": TENSORS, "global_step": 3}]
)
@pytest.mark.parametrize("archive", [True, False])
def test_pickles_of_tensors(tmp_path: Path, content: dict[str, Any], archive: bool) -> None:
    path = tmp_path / "lora.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    file = AdapterFile.open(path)
    assert file.shapes == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    assert torch.equal(file.read(KEY), TENSORS[KEY])


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self._path,))


@pytest.mark.parametrize("name", ["lora.ckpt", "lora.pt", "lora.safetensors"])
@pytest.mark.parametrize("form", ["archive", "legacy", "bare"])
def test_nothing_in_a_pickle_runs(tmp_path: Path, name: str, form: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / name
    content = {**TENSORS, "more": _Touch(marker)}
    if form == "bare":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "archive")
    assert _kind(path) == "unsafe_pickle"
    assert not marker.exists()


@pytest.mark.parametrize("content", [[1], {"a": 1}, {"state_dict": {"a": "b"}}, {1: random(1)}])
def test_pickles_without_a_table_of_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "lora.pt")
    assert _kind(tmp_path / "lora.pt") == "unsafe_pickle"


def test_a_truncated_archive(tmp_path: Path) -> None:
    path = tmp_path / "lora.pt"
    torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-200])
    assert _kind(path) in ("bad_container", "unsafe_pickle")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_values_that_are_not_finite_in_float32(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.tensor([1.0, value], dtype=torch.float64)}, path)
    file = AdapterFile.open(path)
    with pytest.raises(LoraError, match=r"non_finite: .*: a contains NaN or infinity"):
        file.check("a")
