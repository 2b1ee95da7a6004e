"""The image encoder against the official one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir
import pytest
import torch
from exported import export_module, run_exported
from safetensors.torch import load_file

from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graph import trace
from wan_trt.export.modeling.clip import ImageEncoder, ImageEncoderSizes, unused
from wan_trt.export.synthetic.sizes import TINY
from wan_trt.export.tensors import TensorSource

Encode = Callable[[torch.Tensor], torch.Tensor]


def _eager(source: TensorSource) -> ImageEncoder:
    module = ImageEncoder(ImageEncoderSizes.read(source))
    module.load(source)
    return module


def _exported(source: TensorSource, folder: Path) -> Encode:
    module = ImageEncoder(ImageEncoderSizes.read(source))
    executor = export_module(module, source, folder)

    def encode(image: torch.Tensor) -> torch.Tensor:
        sizes = {"height": image.shape[1], "width": image.shape[2]}
        (features,) = run_exported(executor, sizes, image)
        return features

    return encode


def _clip(folder: Path) -> TensorSource:
    source = Checkpoint.open(folder).clip
    assert source is not None
    return source


@pytest.fixture(scope="module")
def source(golden: Path) -> TensorSource:
    return _clip(golden / "checkpoint")


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: Path) -> TensorSource:
    return _clip(tiny_checkpoint)


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "modules" / "clip.safetensors")


@pytest.fixture(scope="module", params=["eager", "exported"])
def encode(
    request: pytest.FixtureRequest,
    source: TensorSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> Encode:
    if request.param == "eager":
        return _eager(source)
    return _exported(source, tmp_path_factory.mktemp("module"))


def _pixels(picture: torch.Tensor) -> torch.Tensor:
    """uint8 [H,W,3] -> [3,H,W] in [-1,1], rounded to bf16 as upstream rounds its inputs."""
    return (picture.float() / 127.5 - 1).bfloat16().float().permute(2, 0, 1)


@pytest.mark.parametrize("name", ["img0", "img1"])
def test_features_equal_the_official_ones(
    encode: Encode, expected: dict[str, torch.Tensor], name: str
) -> None:
    features = encode(_pixels(expected[f"{name}.u8"]))
    torch.testing.assert_close(features, expected[f"{name}.features"], atol=5e-4, rtol=0)


def test_resized_pixels_equal_the_official_ones(
    source: TensorSource, expected: dict[str, torch.Tensor]
) -> None:
    """The network's own input is normalised after this, by the weights of the first layer."""
    resized = _eager(source).resize(_pixels(expected["img0.u8"]))[0]
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).reshape(3, 1, 1)
    deviation = torch.tensor((0.26862954, 0.26130258, 0.27577711)).reshape(3, 1, 1)
    pixels = ((resized + 1) / 2 - mean) / deviation
    official = expected["img0.pixels224_stride4"]
    torch.testing.assert_close(pixels[:, ::4, ::4], official, atol=1e-5, rtol=0)


def test_any_picture_size_on_onnx_runtime(tiny: TensorSource, tmp_path: Path) -> None:
    eager, exported = _eager(tiny), _exported(tiny, tmp_path)
    for rows, columns in ((16, 16), (17, 640), (300, 24)):
        image = torch.rand(3, rows, columns) * 2 - 1
        torch.testing.assert_close(exported(image), eager(image), atol=5e-4, rtol=0)


def test_the_graph_is_made_of_single_nodes(tiny: TensorSource) -> None:
    sizes = ImageEncoderSizes.read(tiny)
    graph = trace(ImageEncoder(sizes)).graph
    operators = [node.op_type for node in graph]
    assert operators.count("Attention") == sizes.layers - 1
    (resize,) = (node for node in graph if node.op_type == "Resize")
    mode = resize.attributes["mode"]
    assert isinstance(mode, onnx_ir.Attr)
    assert mode.as_string() == "cubic"


def test_sizes_are_read_off_the_checkpoint(tiny: TensorSource) -> None:
    sizes = ImageEncoderSizes.read(tiny)
    assert sizes.image_size == TINY.image_size
    assert (sizes.width, sizes.layers) == (TINY.image_width, TINY.image_layers)


def test_every_tensor_is_used_or_known_to_be_unused(tiny: TensorSource) -> None:
    rules = ImageEncoder(ImageEncoderSizes.read(tiny)).rules()
    used = {name for rule in rules.values() for name in rule.sources}
    assert used | unused(tiny.names()) == set(tiny.names())
    assert not used & unused(tiny.names())
