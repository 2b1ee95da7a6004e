"""The store of tensors: files named by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from wan_trt.export.tensor_store import TensorStore


def test_a_tensor_is_a_file_named_by_its_bytes(tmp_path: Path) -> None:
    matrix = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    store = TensorStore(tmp_path / "weights")
    first, number = store.put([matrix.t()]), store.put([torch.tensor(2.5)])
    second = store.put([matrix.t()])
    assert first == second
    assert {file.name for file in (tmp_path / "weights").iterdir()} == {first, number}
    content = (tmp_path / "weights" / first).read_bytes()
    assert hashlib.sha256(content).hexdigest() == first
    assert np.array_equal(np.frombuffer(content, np.float32).reshape(4, 3), matrix.t().numpy())
    assert (tmp_path / "weights" / number).read_bytes() == np.float32(2.5).tobytes()


def test_pieces_make_one_tensor(tmp_path: Path) -> None:
    table = torch.randn(10, 3).to(torch.bfloat16)
    store = TensorStore(tmp_path / "weights")
    assert store.put([table]) == store.put(table[i : i + 4] for i in range(0, 10, 4))


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[torch.Tensor]:
        yield torch.zeros(4)
        raise OSError("the disk went away")

    store = TensorStore(tmp_path / "weights")
    with pytest.raises(OSError, match="went away"):
        store.put(broken())
    assert list((tmp_path / "weights").iterdir()) == []


def test_files_of_another_store_are_linked(tmp_path: Path) -> None:
    name = TensorStore(tmp_path / "first").put([torch.ones(3)])
    file = tmp_path / "first" / name
    store = TensorStore(tmp_path / "second")
    assert store.can_link(file)
    store.adopt(file)
    store.adopt(file)
    assert (tmp_path / "second" / name).samefile(file)
    assert [f.name for f in (tmp_path / "second").iterdir()] == [name]


def test_files_of_another_file_system_are_copied(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own")
    file = other / f"{'0' * 56}{tmp_path.stat().st_ino:08x}"
    file.write_bytes(b"1234")
    try:
        store = TensorStore(tmp_path / "weights")
        assert not store.can_link(file)
        store.adopt(file)
    finally:
        file.unlink()
    assert (tmp_path / "weights" / file.name).read_bytes() == b"1234"
