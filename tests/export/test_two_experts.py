"""Checkpoints with two experts: which folder is one, what fits together, LoRAs of each."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import CheckpointError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint, Dit
from wan_trt.export.graphs import plan
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.synthetic.checkpoint import (
    T5_FILE,
    VAE_FILE,
    config,
    image_to_video_config,
    write_two_expert_checkpoint,
)
from wan_trt.export.synthetic.shapes_only import ShapesOnly
from wan_trt.export.synthetic.sizes import ANIMATE_14B, TINY

HIGH, LOW = ExpertName.HIGH, ExpertName.LOW
SHARD = "diffusion_pytorch_model-00001-of-00002.safetensors"


@pytest.fixture
def broken(i2v_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the two-expert checkpoint that a test may damage."""
    return Path(shutil.copytree(i2v_checkpoint, tmp_path / "checkpoint"))


def _listed(file: Path, prefix: str = "") -> ShapesOnly:
    """Names and shapes of a real model."""
    shapes: dict[str, list[int]] = json.loads(file.read_text())
    return ShapesOnly({prefix + name: tuple(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize("model", ModelName)
def test_every_tensor_of_the_real_models_has_its_place(shared: Path, model: ModelName) -> None:
    names = shared / "facts" / "names"
    animate = model is ModelName.ANIMATE
    listing = "dit_animate14b_original" if animate else "dit_i2v_a14b_original"
    settings = (config if animate else image_to_video_config)(ANIMATE_14B)

    def dit() -> Dit:
        return Dit(settings, _listed(names / f"{listing}.json"))

    checkpoint = Checkpoint(
        model=model,
        path=Path(),
        layout="",
        experts=dict.fromkeys(ExpertName, dit()) if animate else {e: dit() for e in ExpertName},
        vae=_listed(names / "vae_wan21.json"),
        t5=_listed(names / "umt5_xxl_encoder.json"),
        tokenizer=Path(),
        clip=_listed(names / "clip_visual.json", "visual.") if animate else None,
        boundary=None,
        files=(),
    )
    geometry = plan(checkpoint).geometry
    assert (geometry.dim, geometry.heads, geometry.layers) == (5120, 40, 40)
    assert (geometry.text_dim, geometry.text_tokens) == (4096, 512)
    assert (geometry.face is not None) == (geometry.image is not None) == animate


def test_the_files_tell_the_model_not_the_name(
    broken: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    two = broken.rename(tmp_path / "Wan2.2-Animate-14B")
    single = Path(shutil.copytree(tiny_checkpoint, tmp_path / "high_noise_model"))
    assert Checkpoint.open(two).model is ModelName.IMAGE_TO_VIDEO
    assert Checkpoint.open(single).model is ModelName.ANIMATE


def test_both_experts_must_be_there(broken: Path) -> None:
    shutil.rmtree(broken / "low_noise_model")
    with pytest.raises(CheckpointError, match="has 1 I2V-A14B DiT"):
        Checkpoint.open(broken)


@pytest.mark.parametrize(
    ("file", "part"),
    [(VAE_FILE, "no VAE"), (T5_FILE, "no UMT5"), (f"high_noise_model/{SHARD}", SHARD)],
)
def test_a_missing_part_is_named(broken: Path, file: str, part: str) -> None:
    (broken / file).unlink()
    with pytest.raises(CheckpointError, match=part):
        Checkpoint.open(broken)


def test_two_models_in_one_folder(broken: Path, tiny_checkpoint: Path) -> None:
    for file in tiny_checkpoint.glob("diffusion_pytorch_model*"):
        shutil.copyfile(file, broken / file.name)
    with pytest.raises(CheckpointError, match="has 2 models"):
        Checkpoint.open(broken)


def test_experts_of_different_sizes(broken: Path, tmp_path: Path) -> None:
    other = write_two_expert_checkpoint(tmp_path / "other", replace(TINY, layers=3))
    shutil.rmtree(broken / "low_noise_model")
    shutil.copytree(other / "low_noise_model", broken / "low_noise_model")
    with pytest.raises(CheckpointError, match=r"experts whose config\.json differ"):
        plan(Checkpoint.open(broken))


def test_a_text_to_video_model_is_refused(broken: Path) -> None:
    for folder in ("high_noise_model", "low_noise_model"):
        for file in (broken / folder).glob("*.safetensors"):
            tensors = load_file(file)
            if "patch_embedding.weight" in tensors:
                kernel = tensors["patch_embedding.weight"][:, :16]
                save_file(tensors | {"patch_embedding.weight": kernel.contiguous()}, file)
    with pytest.raises(CheckpointError, match="is a DiT of T2V"):
        plan(Checkpoint.open(broken))


def test_tensors_left_over_are_named_with_their_expert(broken: Path) -> None:
    file = broken / "low_noise_model" / SHARD
    save_file(load_file(file) | {"img_emb.proj.1.weight": torch.zeros(1)}, file)
    index = broken / "low_noise_model" / "diffusion_pytorch_model.safetensors.index.json"
    index.unlink()
    with pytest.raises(CheckpointError, match=r"low_noise_model/.* is a DiT of Wan2\.1 I2V"):
        plan(Checkpoint.open(broken))


def test_each_expert_has_its_own_weights(i2v_checkpoint: Path) -> None:
    experts = Checkpoint.open(i2v_checkpoint).experts
    high, low = (experts[expert].tensors for expert in (HIGH, LOW))
    assert set(high.names()) == set(low.names())
    name = "blocks.1.ffn.0.weight"
    assert not torch.equal(high.read(name), low.read(name))


def test_a_lora_of_rank_32_and_alpha_1_folds_at_a_thirty_second(
    i2v_bundle: Bundle, i2v_checkpoint: Path, i2v_loras: LoraStacks
) -> None:
    experts = Checkpoint.open(i2v_checkpoint).experts
    for expert, stack in ((HIGH, i2v_loras.high), (LOW, i2v_loras.low)):
        base = experts[expert].tensors
        factors = load_file(stack[0].path)
        key = "lora_unet_blocks_0_self_attn_q"
        up, down = factors[f"{key}.lora_up.weight"], factors[f"{key}.lora_down.weight"]
        assert down.shape[0] == 32
        assert factors[f"{key}.alpha"] == 1
        name = "blocks.0.self_attn.q.weight"
        expected = base.read(name) + up.float() @ down.float() / 32
        torch.testing.assert_close(_stored(i2v_bundle, expert, name), expected.t())
    reports = json.loads((i2v_bundle.path / "lora_report.json").read_text())
    assert [(entry["expert"], entry["file"]) for entry in reports] == [
        ("high", "circle_high.safetensors"),
        ("low", "circle_low.safetensors"),
    ]
    for entry in reports:
        assert len(entry["modules"]) == 10 * TINY.layers
        assert not entry["unmatched_keys"]
        for module in entry["modules"].values():
            assert module["scale"] == 1 / 32
            assert 0.05 < module["norm_ratio"] < 0.5


def _stored(bundle: Bundle, expert: ExpertName, name: str) -> torch.Tensor:
    """A parameter of the denoiser as the runtime would find it."""
    tensor = bundle.manifest.graphs["denoiser"].weights[expert][name]
    data = np.fromfile(bundle.weights_folder / tensor.sha256, np.float32)
    return torch.from_numpy(data.reshape(tensor.shape))
