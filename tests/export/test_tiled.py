"""Large made-up checkpoints: right layout and scales, equal for equal seeds, little memory."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.synthetic.checkpoint import write_large_checkpoint
from wan_trt.export.synthetic.dit_shapes import dit_shapes
from wan_trt.export.synthetic.sizes import TINY
from wan_trt.export.synthetic.tiled import write_tiled
from wan_trt.export.synthetic.values import DIT
from wan_trt.export.tensors import TensorSource

LONG = (3000, 2000)  # more values than the block that is repeated


def _dit(folder: Path) -> TensorSource:
    return Checkpoint.open(folder).experts[ExpertName.HIGH].tensors


def test_a_large_checkpoint_is_one_like_any_other(tmp_path: Path) -> None:
    dit = _dit(write_large_checkpoint(tmp_path / "large", TINY))
    shapes = dit_shapes(TINY)
    assert {name: dit.shape(name) for name in dit.names()} == shapes
    weight, norm = dit.read("blocks.1.ffn.0.weight"), dit.read("blocks.0.self_attn.norm_q.weight")
    assert math.isclose(float(weight.std()), 1.1 / math.sqrt(TINY.dim), rel_tol=0.1)
    assert math.isclose(float(norm.mean()), 1.3, rel_tol=0.1)
    assert not torch.equal(weight, dit.read("blocks.2.ffn.0.weight"))


def test_a_seed_gives_the_same_weights_whatever_the_shards(tmp_path: Path) -> None:
    first, again, other = (
        _dit(write_large_checkpoint(tmp_path / name, TINY, seed=seed, shards=shards))
        for name, seed, shards in (("first", 0, 3), ("again", 0, 1), ("other", 1, 3))
    )
    for name in ("blocks.0.ffn.2.weight", "face_encoder.padding_tokens"):
        assert torch.equal(first.read(name), again.read(name))
        assert not torch.equal(first.read(name), other.read(name))


def test_no_two_rows_of_a_long_tensor_are_equal(tmp_path: Path) -> None:
    file = tmp_path / "long.safetensors"
    write_tiled(file, {"a.weight": LONG, "b.weight": LONG}, DIT, "0")
    tensors = load_file(file)
    rows = torch.cat((tensors["a.weight"], tensors["b.weight"]))
    assert rows.shape == (2 * LONG[0], LONG[1])
    assert torch.unique(rows[:, :8], dim=0).shape[0] == len(rows)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's VmHWM")
def test_memory_does_not_grow_with_the_tensors(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from wan_trt.export.synthetic.tiled import write_tiled\n"
        "from wan_trt.export.synthetic.values import DIT\n"
        "path, rows = pathlib.Path(sys.argv[1]), int(sys.argv[2])\n"
        "write_tiled(path, {'a.weight': (rows, 5120), 'b.weight': (rows, 5120)}, DIT, '0')\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )

    def peak_kilobytes(rows: int) -> int:
        file = tmp_path / "large.safetensors"
        command = [sys.executable, "-c", program, str(file), str(rows)]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert file.stat().st_size > 2 * 2 * rows * 5120
        file.unlink()
        return peak

    assert peak_kilobytes(20_000) - peak_kilobytes(1_000) < 20_000
