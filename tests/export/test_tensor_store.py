"""The store of tensors: named by content, written in the background."""

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
    with TensorStore(tmp_path / "weights") as store:
        names = [store.put([matrix.t()]), store.put([torch.tensor(2.5)]), store.put([matrix.t()])]
    first, number, second = (name.result() for name in names)
    assert first == second
    assert {file.name for file in (tmp_path / "weights").iterdir()} == {first, number}
    content = (tmp_path / "weights" / first).read_bytes()
    assert hashlib.sha256(content).hexdigest() == first
    assert np.array_equal(np.frombuffer(content, np.float32).reshape(4, 3), matrix.t().numpy())
    assert (tmp_path / "weights" / number).read_bytes() == np.float32(2.5).tobytes()


def test_pieces_make_one_tensor(tmp_path: Path) -> None:
    table = torch.randn(10, 3).to(torch.bfloat16)
    with TensorStore(tmp_path / "weights") as store:
        whole, parts = store.put([table]), store.put(table[i : i + 4] for i in range(0, 10, 4))
    assert whole.result() == parts.result()


def test_a_failed_write_stops_the_next_and_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[torch.Tensor]:
        yield torch.zeros(4)
        raise OSError("the disk went away")

    def put_until_it_fails(store: TensorStore) -> None:
        for _ in range(100):
            store.put([torch.ones(4)])

    with TensorStore(tmp_path / "weights") as store:
        failed = store.put(broken())
        with pytest.raises(OSError, match="went away"):
            failed.result()
        with pytest.raises(OSError, match="went away"):
            put_until_it_fails(store)
    assert not list((tmp_path / "weights").glob("*.partial"))


def test_files_of_another_store_are_linked(tmp_path: Path) -> None:
    with TensorStore(tmp_path / "first") as store:
        name = store.put([torch.ones(3)]).result()
    file = tmp_path / "first" / name
    with TensorStore(tmp_path / "second") as store:
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
        with TensorStore(tmp_path / "weights") as store:
            assert not store.can_link(file)
            store.adopt(file)
    finally:
        file.unlink()
    assert (tmp_path / "weights" / file.name).read_bytes() == b"1234"
