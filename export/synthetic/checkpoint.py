"""Writes a made-up checkpoint in the layout of the official repository Wan2.2-Animate-14B."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from wan_trt.export.synthetic import values
from wan_trt.export.synthetic.dit_shapes import Shape, dit_shapes
from wan_trt.export.synthetic.encoder_shapes import clip_file_shapes, t5_shapes, vae_shapes
from wan_trt.export.synthetic.sizes import CheckpointSizes
from wan_trt.export.synthetic.tokenizer import write_tokenizer

VAE_FILE = "Wan2.1_VAE.pth"
CLIP_FILE = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
T5_FILE = "models_t5_umt5-xxl-enc-bf16.pth"
INDEX_FILE = "diffusion_pytorch_model.safetensors.index.json"


def write_checkpoint(
    folder: Path,
    sizes: CheckpointSizes,
    *,
    seed: int = 0,
    shards: int = 3,
    chosen: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Random weights of these sizes: DiT and UMT5 in bfloat16, VAE and CLIP in float32.

    `chosen` replaces random tensors of the DiT and the VAE by given ones (float32), by name.
    The DiT is held in memory one shard at a time. Returns the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = chosen or {}

    def make(
        shapes: Mapping[str, Shape], spreads: tuple[tuple[str, values.Spread], ...]
    ) -> dict[str, torch.Tensor]:
        random = {
            name: values.random_tensor(name, shape, spreads, seed) for name, shape in shapes.items()
        }
        return random | {name: chosen[name] for name in shapes.keys() & chosen.keys()}

    (folder / "config.json").write_text(json.dumps(config(sizes), indent=2) + "\n")
    weight_map: dict[str, str] = {}
    for number, shapes in enumerate(_split(dit_shapes(sizes), shards), 1):
        file = f"diffusion_pytorch_model-{number:05}-of-{shards:05}.safetensors"
        save_file(_bfloat16(make(shapes, values.DIT)), folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(shapes, file)
    total = sum(2 * torch.Size(shape).numel() for shape in dit_shapes(sizes).values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")
    torch.save(make(vae_shapes(sizes), values.VAE), folder / VAE_FILE)
    torch.save(make(clip_file_shapes(sizes), values.CLIP), folder / CLIP_FILE)
    torch.save(_bfloat16(make(t5_shapes(sizes), values.T5)), folder / T5_FILE)
    vocabulary = write_tokenizer(folder / "google" / "umt5-xxl" / "tokenizer.json")
    if vocabulary > sizes.text_vocabulary:
        raise ValueError(f"text_vocabulary {sizes.text_vocabulary} is below {vocabulary} pieces")
    return folder


def config(sizes: CheckpointSizes) -> dict[str, object]:
    """config.json with the keys of the official class."""
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


def _bfloat16(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}


def _split(shapes: Mapping[str, Shape], parts: int) -> Iterator[dict[str, Shape]]:
    """Consecutive parts of about the same number of tensors, none empty."""
    names = list(shapes)
    for i in range(parts):
        chunk = names[i * len(names) // parts : (i + 1) * len(names) // parts]
        yield {name: shapes[name] for name in chunk}
