"""The recurrent VAE against the official one, and its layers against plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from exported import export_module, run_exported
from safetensors.torch import load_file

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.modeling.vae import VaeDecoder, VaeEncoder, VaeSizes, unused
from wan_trt.export.modeling.vae_history import History
from wan_trt.export.modeling.vae_layers import CausalConv, ChannelNorm, DoublingConv
from wan_trt.export.modeling.vae_rules import layer_rules
from wan_trt.export.synthetic.encoder_shapes import vae_shapes
from wan_trt.export.synthetic.shapes_only import ShapesOnly
from wan_trt.export.synthetic.sizes import ANIMATE_14B
from wan_trt.export.tensors import MemoryTensors, TensorSource

Run = Callable[..., tuple[torch.Tensor, ...]]

KINDS: tuple[type[VaeEncoder] | type[VaeDecoder], ...] = (VaeEncoder, VaeDecoder)


@dataclass(frozen=True)
class Recurrent:
    """A first and a next graph, run over a whole clip [channels, frames, rows, columns]."""

    first: Run
    next: Run
    chunk: int

    def __call__(self, clip: torch.Tensor) -> torch.Tensor:
        result, *caches = self.first(clip[:, :1])
        results = [result]
        for start in range(1, clip.shape[1], self.chunk):
            result, *caches = self.next(clip[:, start : start + self.chunk], *caches)
            results.append(result)
        return torch.cat(results, dim=1)


def _eager(module: ExportModule, source: TensorSource) -> Run:
    module.load(source)
    return module


def _encoder(source: TensorSource, make: Callable[[ExportModule, TensorSource], Run]) -> Recurrent:
    sizes = VaeSizes.read(source)
    first, following = (VaeEncoder(sizes, first=first) for first in (True, False))
    return Recurrent(make(first, source), make(following, source), sizes.temporal)


def _decoder(source: TensorSource, make: Callable[[ExportModule, TensorSource], Run]) -> Recurrent:
    sizes = VaeSizes.read(source)
    first, following = (VaeDecoder(sizes, first=first) for first in (True, False))
    return Recurrent(make(first, source), make(following, source), 1)


@pytest.fixture(scope="module", params=["eager", "exported"])
def make(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[ExportModule, TensorSource], Run]:
    if request.param == "eager":
        return _eager

    def exported(module: ExportModule, source: TensorSource) -> Run:
        executor = export_module(module, source, tmp_path_factory.mktemp("module"))

        def call(x: torch.Tensor, *caches: torch.Tensor) -> tuple[torch.Tensor, ...]:
            scale = 8 if isinstance(module, VaeEncoder) else 1
            sizes = {"height": x.shape[2] // scale, "width": x.shape[3] // scale}
            return run_exported(executor, sizes, x, *caches)

        return call

    return exported


@pytest.fixture(scope="module")
def source(golden: Path) -> TensorSource:
    return Checkpoint.open(golden / "checkpoint").vae


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint: Path) -> TensorSource:
    return Checkpoint.open(tiny_checkpoint).vae


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "modules" / "vae.safetensors")


@pytest.fixture(scope="module")
def encode(source: TensorSource, make: Callable[[ExportModule, TensorSource], Run]) -> Recurrent:
    return _encoder(source, make)


@pytest.fixture(scope="module")
def decode(source: TensorSource, make: Callable[[ExportModule, TensorSource], Run]) -> Recurrent:
    return _decoder(source, make)


def test_latents_equal_the_official_ones(
    encode: Recurrent, expected: dict[str, torch.Tensor]
) -> None:
    frames = (expected["frames_u8"].float() / 127.5 - 1).bfloat16().float().permute(3, 0, 1, 2)
    latents = encode(frames)
    for count in (1, 5, 9, 13):
        official = expected[f"enc{count}"]
        found = latents[:, : official.shape[1]]
        torch.testing.assert_close(found, official, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("name", "value"), [("zero", 0.0), ("black", -1.0)])
def test_latents_of_a_uniform_video(
    encode: Recurrent, expected: dict[str, torch.Tensor], name: str, value: float
) -> None:
    official = expected[f"enc13_{name}_video"]
    latents = encode(torch.full((3, 13, *expected["frames_u8"].shape[1:3]), value))
    torch.testing.assert_close(latents, official, atol=1e-4, rtol=0)


def test_frames_equal_the_official_ones(
    decode: Recurrent, expected: dict[str, torch.Tensor]
) -> None:
    frames = decode(expected["z"])
    for count in (1, 2, 3, 4):
        official = expected[f"dec{count}"]
        found = frames[:, : official.shape[1]]
        torch.testing.assert_close(found, official, atol=1e-4, rtol=0)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_as_specified(
    tiny: TensorSource, kind: Callable[..., ExportModule], first: bool
) -> None:
    module = kind(VaeSizes.read(tiny), first=first)
    module.load(tiny)
    sizes = {"height": 2, "width": 3}
    outputs = module(*(torch.randn(spec.shape(sizes)) for spec in module.spec.inputs))
    assert [tuple(o.shape) for o in outputs] == [s.shape(sizes) for s in module.spec.outputs]


def test_the_first_graph_leaves_what_the_next_takes(tiny: TensorSource) -> None:
    for kind in KINDS:
        first, following = (kind(VaeSizes.read(tiny), first=first) for first in (True, False))
        caches = dict(following.spec.caches)
        assert len(caches) == len(following.spec.inputs) - 1
        assert first.spec.outputs[1:] == following.spec.outputs[1:]


def test_latents_do_not_depend_on_later_frames(tiny: TensorSource) -> None:
    encode = _encoder(tiny, _eager)
    frames = torch.rand(3, 9, 16, 24) * 2 - 1
    changed = frames.clone()
    changed[:, 5:] = -1
    before, after = encode(frames), encode(changed)
    torch.testing.assert_close(before[:, :2], after[:, :2], atol=0, rtol=0)
    assert not torch.allclose(before[:, 2], after[:, 2])


@pytest.mark.parametrize("chunks", [(1, 1, 1, 1), (1, 3), (1, 2, 1)])
def test_a_chunked_convolution_equals_a_whole_one(chunks: tuple[int, ...]) -> None:
    clip = torch.randn(2, sum(chunks), 5, 4)
    kernel, bias = torch.randn(3, 2, 3, 3, 3), torch.randn(3)
    caches: tuple[torch.Tensor, ...] = ()
    results = []
    for index, chunk in enumerate(torch.split(clip, list(chunks), dim=1)):
        conv = CausalConv(2, 3, 1, first=index == 0)
        conv.conv.weight.data = kernel[:, :, -1:] if index == 0 else kernel
        conv.conv.bias.data = bias
        history = History(caches)
        results.append(conv(chunk, history))
        caches = tuple(history.left)
    whole = F.conv3d(F.pad(clip[None], (1, 1, 1, 1, 2, 0)), kernel, bias)[0]
    torch.testing.assert_close(torch.cat(results, dim=1), whole)


def test_doubling_and_convolving_at_the_small_size() -> None:
    kernel, bias, x = torch.randn(3, 4, 3, 3), torch.randn(3), torch.randn(4, 2, 5, 6)
    side = torch.nn.ModuleDict({"space": DoublingConv(4, 3)})
    source = MemoryTensors({"resample.1.weight": kernel, "resample.1.bias": bias})
    for name, rule in layer_rules(side, "", "layers").items():
        side.get_parameter(name).data = rule.apply(source)
    frames = F.interpolate(x.transpose(0, 1), scale_factor=2.0, mode="nearest-exact")
    expected = F.conv2d(frames, kernel, bias, padding=1).transpose(0, 1)
    torch.testing.assert_close(side["space"](x), expected, atol=1e-5, rtol=1e-5)


def test_the_norm_of_small_and_zero_vectors() -> None:
    norm = ChannelNorm(6)
    norm.gain.data = torch.rand(6, 1, 1, 1) + 0.5
    x = torch.randn(6, 1, 2, 3)
    x[:, :, 0, 0] = 0
    x[:, :, 0, 1] *= 1e-6
    torch.testing.assert_close(norm(x), F.normalize(x, dim=0) * norm.gain)


def test_every_tensor_of_the_checkpoint_is_used(tiny: TensorSource) -> None:
    sizes = VaeSizes.read(tiny)
    used = {
        name
        for kind in KINDS
        for rule in kind(sizes, first=False).rules().values()
        for name in rule.sources
    }
    assert used | unused(tiny.names()) == set(tiny.names())


def test_caches_of_the_real_model() -> None:
    """24 and 32 caches; 2.24 and 3.78 GB at 832x480."""
    sizes = VaeSizes.read(ShapesOnly(vae_shapes(ANIMATE_14B)))
    assert (sizes.spatial, sizes.temporal) == (8, 4)
    found = []
    with torch.device("meta"):
        for kind in KINDS:
            caches = kind(sizes, first=True).spec.outputs[1:]
            shapes = [cache.shape({"height": 60, "width": 104}) for cache in caches]
            found.append((len(caches), round(sum(map(math.prod, shapes)) * 4 / 1e9, 2)))
    assert found == [(24, 2.24), (32, 3.78)]


def test_another_latent_space_is_refused(tiny: TensorSource) -> None:
    shapes = {name: tiny.shape(name) for name in tiny.names()}
    shapes["conv2.weight"] = (48, 48, 1, 1, 1)
    with pytest.raises(CheckpointError, match="48 latent channels"):
        VaeSizes.read(ShapesOnly(shapes))
