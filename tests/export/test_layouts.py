"""Every layout of a checkpoint gives the same tensors, and is told by what its files hold."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.layouts.detect import Layout, detect, detect_dit
from wan_trt.export.layouts.recognise import Spelling, Weights
from wan_trt.export.modeling import clip, umt5, vae
from wan_trt.export.modeling.animate import AnimateSizes
from wan_trt.export.synthetic.checkpoint import INDEX_FILE, write_two_expert_checkpoint
from wan_trt.export.synthetic.comfyui import Fp8, write_comfyui
from wan_trt.export.synthetic.diffusers import BOUNDARY, write_diffusers
from wan_trt.export.synthetic.sizes import TINY

AIO_PREFIXES = {
    "diffusion_models": "model.diffusion_model.",
    "vae": "vae.",
    "text_encoders": "text_encoders.umt5xxl.transformer.",
}
FP8 = [
    Fp8(),
    Fp8(torch.float8_e5m2),
    Fp8(by_row=True),
    Fp8(described=True),
    Fp8(torch.float8_e5m2, by_row=True, described=True),
]


@pytest.fixture(scope="module")
def animate(tiny_checkpoint: Path) -> Layout:
    return detect(tiny_checkpoint)


@pytest.fixture(scope="module")
def i2v(i2v_checkpoint: Path) -> Layout:
    return detect(i2v_checkpoint)


@pytest.fixture(params=["animate", "i2v"])
def official(request: pytest.FixtureRequest) -> Layout:
    layout: Layout = request.getfixturevalue(request.param)
    return layout


def parts(layout: Layout) -> list[Weights]:
    high, low = layout.experts[ExpertName.HIGH], layout.experts[ExpertName.LOW]
    return [high, low, layout.vae, layout.t5, *([layout.clip] if layout.clip else [])]


def assert_same(layout: Layout, official: Layout) -> None:
    """Bit-equal tensors; CLIP's head, which nothing uses, may be absent."""
    assert layout.model == official.model
    assert len(parts(layout)) == len(parts(official))
    for there, here in zip(parts(official), parts(layout), strict=True):
        wanted, given = there.open(), here.open()
        assert set(given.names()) | {"visual.head"} == set(wanted.names()) | {"visual.head"}
        for name in given.names():
            assert given.shape(name) == wanted.shape(name)
            assert torch.equal(given.read(name), wanted.read(name)), name


def test_the_official_layout(animate: Layout) -> None:
    assert animate.model is ModelName.ANIMATE
    assert animate.experts[ExpertName.HIGH] is animate.experts[ExpertName.LOW]
    assert animate.experts[ExpertName.HIGH].spelling is Spelling.ORIGINAL
    assert animate.boundary is None
    assert len(animate.files) == 8
    assert animate.clip is not None
    image = clip.ImageEncoderSizes.read(animate.clip.open())
    dit = animate.experts[ExpertName.HIGH].open()
    assert AnimateSizes.read(dit, animate.config, image.tokens).dit.layers == TINY.layers
    assert umt5.TextEncoderSizes.read(animate.t5.open()).layers == TINY.text_layers
    assert vae.VaeSizes.read(animate.vae.open())


def test_the_official_layout_of_two_experts(i2v: Layout, i2v_checkpoint: Path) -> None:
    assert i2v.model is ModelName.IMAGE_TO_VIDEO
    assert i2v.clip is None
    for expert, weights in i2v.experts.items():
        source = weights.open()
        for shard in (i2v_checkpoint / f"{expert}_noise_model").glob("*.safetensors"):
            for name, tensor in load_file(shard).items():
                assert torch.equal(source.read(name), tensor.float()), name
    high, low = (i2v.experts[name].open().read("blocks.1.ffn.0.weight") for name in ExpertName)
    assert not torch.equal(high, low)


@pytest.mark.parametrize("shards", [1, 3])
def test_diffusers(official: Layout, tmp_path: Path, shards: int) -> None:
    layout = detect(write_diffusers(tmp_path / "any", official, shards=shards))
    assert_same(layout, official)
    assert {part.spelling for part in parts(layout)} == {Spelling.DIFFUSERS}
    assert layout.boundary == (None if official.model is ModelName.ANIMATE else BOUNDARY)
    for key, value in layout.config.items():
        assert official.config[key] == value
    assert layout.config["num_heads"] == TINY.heads


@pytest.mark.parametrize("prefix", ["", "diffusion_model.", "model.diffusion_model."])
def test_single_files(official: Layout, tmp_path: Path, prefix: str) -> None:
    assert_same(detect(write_comfyui(tmp_path / "any", official, prefix=prefix)), official)


def test_one_file_with_everything(animate: Layout, tmp_path: Path) -> None:
    folder = write_comfyui(tmp_path / "any", animate)
    tensors = {"text_encoders.umt5xxl.logit_scale": torch.ones(())}
    for name, prefix in AIO_PREFIXES.items():
        (file,) = (folder / name).glob("*.safetensors")
        tensors |= {prefix + key: tensor for key, tensor in load_file(file).items()}
        file.unlink()
    save_file(tensors, folder / "all.safetensors")
    assert_same(detect(folder), animate)


@pytest.mark.parametrize("fp8", FP8, ids=str)
def test_scaled_fp8_is_within_its_rounding(animate: Layout, tmp_path: Path, fp8: Fp8) -> None:
    layout = detect(write_comfyui(tmp_path / "any", animate, fp8=fp8))
    kind = torch.finfo(fp8.dtype)
    for there, here in zip(parts(animate), parts(layout), strict=True):
        wanted, given = there.open(), here.open()
        for name in given.names():
            exact, rounded = wanted.read(name), given.read(name)
            if not here.scaled or "block" not in name or exact.ndim != 2:
                assert torch.equal(rounded, exact), name
                continue
            largest = exact.abs().amax(1, keepdim=True) if fp8.by_row else exact.abs().max()
            finest = kind.smallest_normal * kind.eps * largest / kind.max
            bound = torch.maximum(exact.abs() * kind.eps / 2, finest / 2)
            assert bool(((rounded - exact).abs() <= bound * 1.001).all()), name
            assert not torch.equal(rounded, exact), name


def test_unscaled_fp8_is_read_as_it_is(animate: Layout, tmp_path: Path) -> None:
    tensors, file = _dit(animate), tmp_path / "dit.safetensors"
    stored = {
        name: tensor.to(torch.float8_e4m3fn) if tensor.ndim == 2 else tensor
        for name, tensor in tensors.items()
    }
    save_file(stored, file)
    source = detect_dit(file).open()
    name = "blocks.0.ffn.0.weight"
    assert torch.equal(source.read(name), stored[name].to(torch.float32))


def test_blur_kernels_that_a_file_leaves_out(animate: Layout, tmp_path: Path) -> None:
    tensors, file = _dit(animate), tmp_path / "dit.safetensors"
    save_file({n: t for n, t in tensors.items() if not n.endswith(".kernel")}, file)
    source = detect_dit(file).open()
    assert set(source.names()) == set(tensors)
    for name in (name for name in tensors if name.endswith(".kernel")):
        assert torch.equal(source.read(name), tensors[name])


def test_names_of_files_and_folders_decide_nothing(animate: Layout, tmp_path: Path) -> None:
    """All files in one folder, and called as misleadingly as can be."""
    there = write_comfyui(tmp_path / "there", animate)
    flat = tmp_path / "i2v_high_noise_model"
    flat.mkdir()
    names = iter(("vae", "diffusion_pytorch_model", "text_encoder", "wan2.2_t2v_5B"))
    for file in sorted(there.rglob("*.safetensors")):
        shutil.copyfile(file, flat / f"{next(names)}.safetensors")
    shutil.copyfile(animate.tokenizer, flat / "tokenizer.json")
    assert_same(detect(flat), animate)


def test_spellings_may_be_mixed(animate: Layout, tmp_path: Path) -> None:
    folder = write_diffusers(tmp_path / "any", animate)
    shutil.rmtree(folder / "vae")
    shutil.copyfile(animate.vae.files.files[0], folder / "Wan2.1_VAE.pth")
    assert_same(detect(folder), animate)


def test_opening_reads_no_values(animate: Layout, tmp_path: Path) -> None:
    folder = write_diffusers(tmp_path / "any", animate, shards=1)
    source = detect(folder).experts[ExpertName.HIGH].open()
    name = "face_adapter.fuser_blocks.0.linear1_kv.bias"
    before = source.read(name)
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["face_adapter.0.to_v.bias"] += 1
    save_file(tensors, file)
    key, value = (source.read(name) - before).chunk(2)
    assert not key.any()
    assert bool((value > 0.9).all())


def test_the_tokenizers_of_other_encoders_are_left_alone(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "any"))
    other = folder / "xlm-roberta-large" / "tokenizer.json"
    other.parent.mkdir()
    other.write_text(json.dumps({"model": {"vocab": [["<s>", 0.0], ["<pad>", 0.0]]}}))
    assert detect(folder).tokenizer.parent.name == "umt5-xxl"


def test_what_is_no_part_is_left_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "any"))
    (folder / "relighting_lora").mkdir()
    lora = {"blocks.0.self_attn.q.lora_A.weight": torch.zeros(2, 2)}
    save_file(lora, folder / "relighting_lora" / "adapter_model.safetensors")
    torch.save({"epoch": 1, "state_dict": {}}, folder / "relighting_lora.ckpt")
    assert len(detect(folder).files) == 8


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("wan2.2_i2v_high_noise_14B_fp8_scaled", "wan2.2_i2v_low_noise_14B_fp8_scaled"),
        ("Wan2_2-I2V-A14B-HIGH_fp8_e4m3fn_scaled_KJ", "Wan2_2-I2V-A14B-LOW_fp8_e4m3fn_scaled_KJ"),
        ("HighNoise", "LowNoise"),
        ("flow-high", "flow-low"),
    ],
)
def test_experts_are_told_by_high_and_low(i2v: Layout, tmp_path: Path, high: str, low: str) -> None:
    folder = write_comfyui(tmp_path / "any", i2v)
    for name in (high, low):
        expert = "high" if name == high else "low"
        there = folder / "diffusion_models" / f"wan2.2_i2v_{expert}_noise_14B.safetensors"
        there.rename(folder / f"{name}.safetensors")
    assert_same(detect(folder), i2v)


@pytest.mark.parametrize("name", ["wan2.2_i2v_14B", "high", "high_low", "flow", "transformer_2"])
def test_experts_that_names_do_not_tell_apart(i2v: Layout, tmp_path: Path, name: str) -> None:
    folder = write_comfyui(tmp_path / "any", i2v)
    low = folder / "diffusion_models" / "wan2.2_i2v_low_noise_14B.safetensors"
    low.rename(low.with_stem(name))
    with pytest.raises(CheckpointError, match=r"two experts that cannot be told apart.*high and"):
        detect(folder)


def test_diffusers_folders_without_their_index(i2v: Layout, tmp_path: Path) -> None:
    folder = write_diffusers(tmp_path / "any", i2v)
    (folder / "model_index.json").unlink()
    with pytest.raises(CheckpointError, match="model_index"):
        detect(folder)


def test_heads_of_single_files_are_those_of_every_wan_model(tmp_path: Path) -> None:
    """Where no tensor and no config.json says how many there are."""
    wide = replace(TINY, dim=128, heads=1)
    official = detect(write_two_expert_checkpoint(tmp_path / "official", wide))
    assert detect(write_comfyui(tmp_path / "any", official)).config == {"num_heads": 1}


def test_one_file_alone_is_a_dit(animate: Layout, tmp_path: Path) -> None:
    file = tmp_path / "base.safetensors"
    save_file(_dit(animate), file)
    assert detect_dit(file).model is ModelName.ANIMATE
    with pytest.raises(CheckpointError, match=r"no CLIP \(found: .*base.safetensors: Animate DiT"):
        detect(file)


def test_the_index_decides_which_shards_belong(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "any"))
    (folder / INDEX_FILE).unlink()
    assert len(detect(folder).files) == 8  # by their numbers


def _dit(layout: Layout) -> dict[str, torch.Tensor]:
    source = layout.experts[ExpertName.HIGH].open()
    return {name: source.read(name).to(torch.bfloat16) for name in source.names()}
