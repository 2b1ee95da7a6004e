"""CLIP's vision tower: names of open-clip's file and of transformers' `CLIPVisionModel`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wan_trt.export.layouts.correspondence import (
    BATCH_OF_ONE,
    TOKEN,
    TRANSPOSED,
    Correspondence,
    NameTable,
    count,
    modules,
)

PREFIX = "visual."

_LAYER_MODULES = (
    ("norm1", "layer_norm1"),
    ("attn.proj", "self_attn.out_proj"),
    ("norm2", "layer_norm2"),
    ("mlp.0", "mlp.fc1"),
    ("mlp.2", "mlp.fc2"),
)


def clip_table(names: Iterable[str]) -> NameTable:
    """Original names to those of transformers, which here lack their prefix `vision_model.`; the
    original file has the text tower too, which no image-to-video model uses."""
    layers = count(names, r"(?:visual\.)?(?:transformer|encoder\.layers)\.(\d+)\.")
    other = "embeddings."
    rows = [
        Correspondence(f"{PREFIX}cls_embedding", (f"{other}class_embedding",), TOKEN),
        Correspondence(
            f"{PREFIX}pos_embedding", (f"{other}position_embedding.weight",), BATCH_OF_ONE
        ),
        Correspondence(f"{PREFIX}patch_embedding.weight", (f"{other}patch_embedding.weight",)),
        *modules(PREFIX, "", [("pre_norm", "pre_layrnorm")]),  # their spelling
        *modules(PREFIX, "", [("post_norm", "post_layernorm")], required=False),
        Correspondence(f"{PREFIX}head", ("visual_projection.weight",), TRANSPOSED, required=False),
    ]
    for i in range(layers):
        original, layer = f"{PREFIX}transformer.{i}.", f"encoder.layers.{i}."
        rows += modules(original, layer, _LAYER_MODULES)
        for part in ("weight", "bias"):
            attention = tuple(f"{layer}self_attn.{m}_proj.{part}" for m in "qkv")
            rows.append(Correspondence(f"{original}attn.to_qkv.{part}", attention))
    # older transformers saved the positions' numbers as well
    return NameTable(tuple(rows), re.compile(r"embeddings\.position_ids"))
