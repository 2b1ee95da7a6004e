"""Writes made-up checkpoints in the layouts of the official repositories."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from wan_trt.engine.request import ExpertName
from wan_trt.export.synthetic import values
from wan_trt.export.synthetic.dit_shapes import Shape, dit_shapes, image_to_video_shapes
from wan_trt.export.synthetic.encoder_shapes import clip_file_shapes, t5_shapes, vae_shapes
from wan_trt.export.synthetic.sizes import CheckpointSizes
from wan_trt.export.synthetic.tiled import write_tiled
from wan_trt.export.synthetic.tokenizer import write_tokenizer

VAE_FILE = "Wan2.1_VAE.pth"
CLIP_FILE = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
T5_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
INDEX_FILE = "diffusion_pytorch_model.safetensors.index.json"

Tensors = Mapping[str, torch.Tensor]
WriteShard = Callable[[Path, Mapping[str, Shape]], None]


def write_checkpoint(
    folder: Path,
    sizes: CheckpointSizes,
    *,
    seed: int = 0,
    shards: int = 3,
    chosen: Tensors | None = None,
) -> Path:
    """A Wan2.2-Animate-14B of these sizes with random weights: DiT and UMT5 in bfloat16, VAE and
    CLIP in float32.

    `chosen` replaces random tensors of the DiT and the VAE by given ones (float32), by name.
    The DiT is held in memory one shard at a time. Returns the folder.
    """
    chosen = chosen or {}
    write_shard = _random_shard(f"{seed}", chosen)
    _write_dit(folder, config(sizes), dit_shapes(sizes), shards, write_shard)
    _write_encoders(folder, sizes, seed, chosen)
    return folder


def write_large_checkpoint(
    folder: Path, sizes: CheckpointSizes, *, seed: int = 0, shards: int = 3
) -> Path:
    """As `write_checkpoint`, with a DiT of any size in little time and memory: its values are not
    fit for computing with (see `tiled`). Returns the folder."""

    def write_shard(path: Path, shapes: Mapping[str, Shape]) -> None:
        write_tiled(path, shapes, values.DIT, f"{seed}")

    _write_dit(folder, config(sizes), dit_shapes(sizes), shards, write_shard)
    _write_encoders(folder, sizes, seed)
    return folder


def write_two_expert_checkpoint(
    folder: Path, sizes: CheckpointSizes, *, seed: int = 0, shards: int = 2
) -> Path:
    """A Wan2.2-I2V-A14B of these sizes, as far as they apply: two DiTs with random weights of
    their own in high_noise_model/ and low_noise_model/, the rest beside them. Returns the
    folder."""
    for expert in ExpertName:
        _write_dit(
            folder / f"{expert.value}_noise_model",
            image_to_video_config(sizes),
            image_to_video_shapes(sizes),
            shards,
            _random_shard(f"{seed}/{expert}"),
        )
    _write_shared(folder, sizes, seed)
    return folder


def _write_dit(
    folder: Path,
    settings: Mapping[str, object],
    shapes: Mapping[str, Shape],
    shards: int,
    write_shard: WriteShard,
) -> None:
    """config.json, shards and their index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    weight_map: dict[str, str] = {}
    for number, part in enumerate(_split(shapes, shards), 1):
        file = f"diffusion_pytorch_model-{number:05}-of-{shards:05}.safetensors"
        write_shard(folder / file, part)
        weight_map |= dict.fromkeys(part, file)
    total = sum(2 * torch.Size(shape).numel() for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")


def _random_shard(label: str, chosen: Tensors | None = None) -> WriteShard:
    def write(path: Path, shapes: Mapping[str, Shape]) -> None:
        tensors = _bfloat16(_make(shapes, values.DIT, label, chosen))
        save_file(tensors, path, {"format": "pt"})

    return write


def _write_encoders(
    folder: Path, sizes: CheckpointSizes, seed: int, chosen: Tensors | None = None
) -> None:
    """What Animate has beside its DiT."""
    _write_shared(folder, sizes, seed, chosen)
    clip = _make(clip_file_shapes(sizes), values.CLIP, f"{seed}")
    torch.save(clip, folder / CLIP_FILE)


def _write_shared(
    folder: Path, sizes: CheckpointSizes, seed: int, chosen: Tensors | None = None
) -> None:
    """VAE, UMT5 and tokenizer."""
    torch.save(_make(vae_shapes(sizes), values.VAE, f"{seed}", chosen), folder / VAE_FILE)
    torch.save(_bfloat16(_make(t5_shapes(sizes), values.T5, f"{seed}")), folder / T5_FILE)
    vocabulary = write_tokenizer(folder / "google" / "umt5-xxl" / "tokenizer.json")
    if vocabulary > sizes.text_vocabulary:
        raise ValueError(f"text_vocabulary {sizes.text_vocabulary} is below {vocabulary} pieces")


def _make(
    shapes: Mapping[str, Shape], spreads: values.Spreads, label: str, chosen: Tensors | None = None
) -> dict[str, torch.Tensor]:
    """Random float32 tensors that `label` decides, or chosen ones."""
    chosen = chosen or {}
    random = {
        name: values.random_tensor(name, shape, spreads, label) for name, shape in shapes.items()
    }
    return random | {name: chosen[name] for name in shapes.keys() & chosen.keys()}


def config(sizes: CheckpointSizes) -> dict[str, object]:
    """config.json of Animate with the keys of the official class."""
    return {
        "_class_name": "WanAnimateModel",
        "_diffusers_version": "0.35.0",
        "cross_attn_norm": True,
        "dim": sizes.dim,
        "eps": 1e-6,
        "ffn_dim": sizes.ffn,
        "freq_dim": sizes.frequency_dim,
        "in_dim": sizes.latent_channels + sizes.condition_channels,
        "motion_encoder_dim": sizes.motion_dim,
        "num_heads": sizes.heads,
        "num_layers": sizes.layers,
        "out_dim": sizes.latent_channels,
        "patch_size": [1, 2, 2],
        "qk_norm": True,
        "text_dim": sizes.text_dim,
        "text_len": sizes.text_tokens,
        "use_context_parallel": False,
        "use_img_emb": True,
        "window_size": [-1, -1],
    }


def image_to_video_config(sizes: CheckpointSizes) -> dict[str, object]:
    """config.json of an expert, with the keys of the official one and text_dim."""
    return {
        "_class_name": "WanModel",
        "_diffusers_version": "0.33.0",
        "dim": sizes.dim,
        "eps": 1e-6,
        "ffn_dim": sizes.ffn,
        "freq_dim": sizes.frequency_dim,
        "in_dim": sizes.latent_channels + sizes.condition_channels,
        "model_type": "i2v",
        "num_heads": sizes.heads,
        "num_layers": sizes.layers,
        "out_dim": sizes.latent_channels,
        "text_dim": sizes.text_dim,
        "text_len": sizes.text_tokens,
    }


def _bfloat16(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}


def _split(shapes: Mapping[str, Shape], parts: int) -> Iterator[dict[str, Shape]]:
    """Consecutive parts of about the same number of tensors, none empty."""
    names = list(shapes)
    for i in range(parts):
        chunk = names[i * len(names) // parts : (i + 1) * len(names) // parts]
        yield {name: shapes[name] for name in chunk}
