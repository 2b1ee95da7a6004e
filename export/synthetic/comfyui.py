"""Writes a made-up checkpoint again as the single files that ComfyUI reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.layouts.clip_names import clip_table
from wan_trt.export.layouts.detect import Layout
from wan_trt.export.layouts.umt5_names import umt5_table
from wan_trt.export.synthetic.diffusers import respelled
from wan_trt.export.tensors import TensorSource

_FORMATS = {torch.float8_e4m3fn: "float8_e4m3fn", torch.float8_e5m2: "float8_e5m2"}


@dataclass(frozen=True)
class Fp8:
    """How linear weights of the blocks are stored. `described` is the newer convention: other
    names, a description for each weight and no marker for the file."""

    dtype: torch.dtype = torch.float8_e4m3fn
    by_row: bool = False
    described: bool = False

    def store(self, name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        """`tensor` float32 [rows, columns] -> values and scale, with what belongs to them."""
        largest = tensor.abs().amax(1, keepdim=True) if self.by_row else tensor.abs().max()
        scale = largest.clamp(min=1e-12) / torch.finfo(self.dtype).max
        module = name.removesuffix(".weight")
        stored = {name: (tensor / scale).to(self.dtype)}
        if not self.described:
            return stored | {f"{module}.scale_weight": scale.flatten() if self.by_row else scale}
        text = json.dumps({"format": _FORMATS[self.dtype]}).encode()
        return stored | {
            f"{module}.weight_scale": scale,
            f"{module}.input_scale": torch.tensor(1.0),
            f"{module}.comfy_quant": torch.tensor(list(text), dtype=torch.uint8),
        }


def write_comfyui(
    folder: Path, layout: Layout, *, prefix: str = "", fp8: Fp8 | None = None
) -> Path:
    """The tensors of `layout` as one file for each part, without config.json: DiTs and UMT5 in
    bfloat16 with `fp8` for their linear weights, VAE and CLIP in float32. `prefix` stands before
    the DiTs' names. Every part is held in memory whole. Returns the folder."""
    for part in ("diffusion_models", "vae", "clip_vision", "text_encoders"):
        (folder / part).mkdir(parents=True)
    if layout.model is ModelName.ANIMATE:
        dits = {"wan2.2_animate_14B": layout.experts[ExpertName.HIGH]}
    else:
        dits = {f"wan2.2_i2v_{e}_noise_14B": w for e, w in layout.experts.items()}
    for name, weights in dits.items():
        tensors = _stored(_original(weights.open()), fp8)
        tensors = {prefix + name: tensor for name, tensor in tensors.items()}
        save_file(tensors, folder / "diffusion_models" / f"{name}.safetensors")
    vae = _original(layout.vae.open())
    save_file(vae, folder / "vae" / "wan_2.1_vae.safetensors")
    if layout.clip is not None:
        clip = respelled(layout.clip.open(), clip_table, torch.float32)
        head = {"visual_projection.weight": clip.pop("visual_projection.weight")}
        clip = {f"vision_model.{name}": tensor for name, tensor in clip.items()}
        save_file(clip | head, folder / "clip_vision" / "clip_vision_h.safetensors")
    t5 = _stored(respelled(layout.t5.open(), umt5_table, torch.float32), fp8)
    t5["spiece_model"] = torch.tensor(list(b"not a real one"), dtype=torch.uint8)
    save_file(t5, folder / "text_encoders" / "umt5_xxl.safetensors")
    shutil.copyfile(layout.tokenizer, folder / "text_encoders" / "tokenizer.json")
    return folder


def _original(source: TensorSource) -> dict[str, torch.Tensor]:
    return {name: source.read(name) for name in source.names()}


def _stored(tensors: Mapping[str, torch.Tensor], fp8: Fp8 | None) -> dict[str, torch.Tensor]:
    stored: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if fp8 and "block" in name and name.endswith(".weight") and tensor.ndim == 2:
            stored |= fp8.store(name, tensor)
        else:
            stored[name] = tensor.to(torch.bfloat16)
    if fp8 and not fp8.described:
        stored["scaled_fp8"] = torch.zeros(0, dtype=fp8.dtype)
    return stored
