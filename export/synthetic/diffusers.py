"""Writes a made-up checkpoint again in the layout of the diffusers repositories."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.layouts.clip_names import clip_table
from wan_trt.export.layouts.configs import diffusers_config
from wan_trt.export.layouts.correspondence import NameTable
from wan_trt.export.layouts.detect import Layout
from wan_trt.export.layouts.dit_names import dit_table
from wan_trt.export.layouts.umt5_names import umt5_table
from wan_trt.export.layouts.vae_names import vae_table
from wan_trt.export.tensors import TensorSource

_TRANSFORMERS = {
    ModelName.ANIMATE: "WanAnimateTransformer3DModel",
    ModelName.IMAGE_TO_VIDEO: "WanTransformer3DModel",
}
_PIPELINES = {
    ModelName.ANIMATE: "WanAnimatePipeline",
    ModelName.IMAGE_TO_VIDEO: "WanImageToVideoPipeline",
}
_FOLDERS = {ExpertName.HIGH: "transformer", ExpertName.LOW: "transformer_2"}
BOUNDARY = 0.9


def write_diffusers(folder: Path, layout: Layout, *, shards: int = 2) -> Path:
    """The tensors of `layout` under diffusers' names: transformers and UMT5 in bfloat16 and in
    shards, VAE and CLIP in float32. Every part is held in memory whole. Returns the folder."""
    single = layout.model is ModelName.ANIMATE
    dits = {ExpertName.HIGH: layout.experts[ExpertName.HIGH]} if single else layout.experts
    for expert, weights in dits.items():
        tensors = respelled(weights.open(), dit_table, torch.bfloat16)
        part = folder / _FOLDERS[expert]
        write_sharded(part, "diffusion_pytorch_model", tensors, shards)
        config = diffusers_config(layout.config)
        _write_json(part / "config.json", {"_class_name": _TRANSFORMERS[layout.model], **config})
    vae = respelled(layout.vae.open(), vae_table, torch.float32)
    write_sharded(folder / "vae", "diffusion_pytorch_model", vae, 1)
    _write_json(folder / "vae" / "config.json", {"_class_name": "AutoencoderKLWan", "z_dim": 16})
    t5 = respelled(layout.t5.open(), umt5_table, torch.bfloat16)
    write_sharded(folder / "text_encoder", "model", t5, shards)
    _write_json(folder / "text_encoder" / "config.json", {"architectures": ["UMT5EncoderModel"]})
    if layout.clip is not None:
        clip = respelled(layout.clip.open(), clip_table, torch.float32)
        del clip["visual_projection.weight"]  # the class without projection
        clip = {f"vision_model.{name}": tensor for name, tensor in clip.items()}
        write_sharded(folder / "image_encoder", "model", clip, 1)
        architecture = {"architectures": ["CLIPVisionModel"]}
        _write_json(folder / "image_encoder" / "config.json", architecture)
    (folder / "tokenizer").mkdir()
    shutil.copyfile(layout.tokenizer, folder / "tokenizer" / "tokenizer.json")
    index: dict[str, object] = {"_class_name": _PIPELINES[layout.model]}
    if not single:
        index["boundary_ratio"] = BOUNDARY
    _write_json(folder / "model_index.json", index)
    return folder


def respelled(
    source: TensorSource, table: Callable[[Iterable[str]], NameTable], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """All tensors of `source` under the names of the table's other spelling."""
    names = set(source.names())
    return {
        part: tensor.to(dtype).contiguous()
        for row in table(names)
        if row.original in names
        for part, tensor in row.split(source.read(row.original)).items()
    }


def write_sharded(
    folder: Path, stem: str, tensors: Mapping[str, torch.Tensor], shards: int
) -> None:
    """One safetensors file, or `shards` of them with their index."""
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        save_file(dict(tensors), folder / f"{stem}.safetensors", {"format": "pt"})
        return
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for i in range(shards):
        chunk = names[i * len(names) // shards : (i + 1) * len(names) // shards]
        file = f"{stem}-{i + 1:05}-of-{shards:05}.safetensors"
        save_file({name: tensors[name] for name in chunk}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(chunk, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    _write_json(folder / f"{stem}.safetensors.index.json", index)


def _write_json(file: Path, content: Mapping[str, object]) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n")
