"""The text encoder against the official one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from exported import export_module, run_exported
from safetensors.torch import load_file

from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.modeling.umt5 import (
    MAX_TOKENS,
    TextEncoder,
    TextEncoderSizes,
    bucket_of,
    unused,
)
from wan_trt.export.tensors import TensorSource

Encode = Callable[[torch.Tensor], torch.Tensor]

STRIDE_OF_LONG = 16  # of stored rows where there are more than 200


def _eager(source: TensorSource) -> TextEncoder:
    module = TextEncoder(TextEncoderSizes.read(source))
    module.load(source)
    return module


def _exported(source: TensorSource, folder: Path) -> Encode:
    executor = export_module(TextEncoder(TextEncoderSizes.read(source)), source, folder)

    def encode(token_ids: torch.Tensor) -> torch.Tensor:
        (rows,) = run_exported(executor, {"tokens": len(token_ids)}, token_ids)
        return rows

    return encode


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: Path) -> TensorSource:
    return Checkpoint.open(tiny_checkpoint).t5


@pytest.fixture(scope="module", params=["eager", "exported"])
def encode(
    request: pytest.FixtureRequest, golden: Path, tmp_path_factory: pytest.TempPathFactory
) -> Encode:
    source = Checkpoint.open(golden / "checkpoint").t5
    if request.param == "eager":
        return _eager(source)
    return _exported(source, tmp_path_factory.mktemp("module"))


@pytest.mark.parametrize("prompt", range(5))
def test_rows_equal_the_official_padded_run(encode: Encode, golden: Path, prompt: int) -> None:
    expected = load_file(golden / "modules" / "t5.safetensors")
    length = int(expected[f"p{prompt}.length"])
    rows = encode(expected[f"p{prompt}.ids"][:length].long())
    stored = rows[::STRIDE_OF_LONG] if length > 200 else rows
    torch.testing.assert_close(stored, expected[f"p{prompt}.embedding"], atol=1e-4, rtol=0)


def test_any_length_on_onnx_runtime(tiny: TensorSource, tmp_path: Path) -> None:
    eager, exported = _eager(tiny), _exported(tiny, tmp_path)
    vocabulary = TextEncoderSizes.read(tiny).vocabulary
    for length in (1, 2, 60, MAX_TOKENS):
        ids = torch.randint(vocabulary, (length,))
        torch.testing.assert_close(exported(ids), eager(ids), atol=1e-4, rtol=0)


def test_buckets_of_distances() -> None:
    """Of 32, half for keys behind: one each up to 7, then up to 128, where they end."""
    distances = torch.tensor([0, -1, -7, -8, -11, -12, -15, -16, -127, -128, -511])
    assert bucket_of(distances, 32).tolist() == [0, 1, 7, 8, 8, 9, 9, 10, 15, 15, 15]
    ahead = distances[1:].abs()
    assert torch.equal(bucket_of(ahead, 32), bucket_of(-ahead, 32) + 16)


def test_every_tensor_of_the_checkpoint_is_used(tiny: TensorSource) -> None:
    rules = TextEncoder(TextEncoderSizes.read(tiny)).rules()
    used = {name for rule in rules.values() for name in rule.sources}
    assert used | unused(tiny.names()) == set(tiny.names())
