"""LPIPS against the same arithmetic written with torch, on made-up weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch.nn import functional

from wan_trt.calibration.gate.lpips import Lpips
from wan_trt.engine.errors import InputError, MediaError

SHAPES = {
    0: (64, 3, 11, 11),
    3: (192, 64, 5, 5),
    6: (384, 192, 3, 3),
    8: (256, 384, 3, 3),
    10: (256, 256, 3, 3),
}
CONVOLUTIONS = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}  # stride, padding


@pytest.fixture(scope="module")
def weights() -> dict[str, NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    tensors = {}
    for number, (layer, shape) in enumerate(SHAPES.items()):
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:])))
        tensors[f"features.{layer}.weight"] = scale * generator.standard_normal(shape, np.float32)
        tensors[f"features.{layer}.bias"] = generator.standard_normal(shape[0], np.float32) / 10
        tensors[f"lin{number}.model.1.weight"] = generator.random((1, shape[0], 1, 1), np.float32)
    return tensors


@pytest.fixture(scope="module")
def file(weights: dict[str, NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "weights.safetensors"
    save_file(weights, path)
    return path


def frames(seed: int, side: int = 48) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.uniform(-1, 1, (2, side, side + 16, 3)).astype(np.float32)


def features(
    pictures: NDArray[np.float32], weights: dict[str, NDArray[np.float32]]
) -> list[torch.Tensor]:
    """Unit features of every layer of AlexNet."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    x = (torch.from_numpy(pictures).permute(0, 3, 1, 2) - shift) / scale
    found = []
    for layer, (stride, padding) in CONVOLUTIONS.items():
        if layer in (3, 6):
            x = functional.max_pool2d(x, 3, 2)
        weight = torch.from_numpy(weights[f"features.{layer}.weight"])
        bias = torch.from_numpy(weights[f"features.{layer}.bias"])
        x = functional.relu(functional.conv2d(x, weight, bias, stride, padding))
        found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
    return found


def test_it_is_the_published_distance(weights: dict[str, NDArray[np.float32]], file: Path) -> None:
    first, second = frames(0), frames(1)
    expected = 0.0
    pairs = zip(features(first, weights), features(second, weights), strict=True)
    for number, (a, b) in enumerate(pairs):
        linear = torch.from_numpy(weights[f"lin{number}.model.1.weight"])
        expected += float(((a - b).square() * linear).sum(1).mean())
    assert Lpips(file)(first, second) == pytest.approx(expected, rel=1e-4)
    assert Lpips(file)(first, first) == 0


def test_frames_that_are_too_small_are_refused(file: Path) -> None:
    with pytest.raises(InputError, match="at least 32"):
        Lpips(file)(frames(0, 16), frames(1, 16))


def test_a_tensor_that_is_missing_is_named(
    weights: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    path = tmp_path / "half.safetensors"
    save_file({name: value for name, value in weights.items() if "lin4" not in name}, path)
    with pytest.raises(MediaError, match=r"lin4\.model\.1\.weight is missing"):
        Lpips(path)
