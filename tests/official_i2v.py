"""A tiny official I2V-A14B repository, cut out of the tiny Animate one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from wan_trt.export.synthetic.checkpoint import T5_FILE, VAE_FILE

_ANIMATE_ONLY = ("img_emb", "pose_", "motion_", "face_", "k_img", "v_img")


def write_official_i2v(folder: Path, animate: Path) -> Path:
    """Two experts in shards of their own, the low one other than the high one; no CLIP."""
    shards = sorted(animate.glob("*.safetensors"))
    dit = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    dit = {n: t for n, t in dit.items() if not any(word in n for word in _ANIMATE_ONLY)}
    config = json.loads((animate / "config.json").read_text())
    config |= {"_class_name": "WanModel", "model_type": "i2v"}
    for expert, factor in (("high_noise_model", 1), ("low_noise_model", 2)):
        tensors = {name: factor * tensor.to(torch.float32) for name, tensor in dit.items()}
        part = folder / expert
        part.mkdir(parents=True)
        (part / "config.json").write_text(json.dumps(config))
        names = sorted(tensors)
        for i, chunk in enumerate((names[::2], names[1::2]), 1):
            file = part / f"diffusion_pytorch_model-{i:05}-of-00002.safetensors"
            save_file({name: tensors[name] for name in chunk}, file)
    for name in (VAE_FILE, T5_FILE, "google/umt5-xxl/tokenizer.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(animate / name, folder / name)
    return folder
