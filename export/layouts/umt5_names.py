"""UMT5's encoder: names of models_t5_umt5-xxl-enc-bf16.pth and of transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wan_trt.export.layouts.correspondence import NameTable, count, tensors

_BLOCK = (
    ("norm1.weight", "layer.0.layer_norm.weight"),
    ("attn.q.weight", "layer.0.SelfAttention.q.weight"),
    ("attn.k.weight", "layer.0.SelfAttention.k.weight"),
    ("attn.v.weight", "layer.0.SelfAttention.v.weight"),
    ("attn.o.weight", "layer.0.SelfAttention.o.weight"),
    (
        "pos_embedding.embedding.weight",
        "layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    ("norm2.weight", "layer.1.layer_norm.weight"),
    ("ffn.gate.0.weight", "layer.1.DenseReluDense.wi_0.weight"),
    ("ffn.fc1.weight", "layer.1.DenseReluDense.wi_1.weight"),
    ("ffn.fc2.weight", "layer.1.DenseReluDense.wo.weight"),
)
_FINAL_NORM = "encoder.final_layer_norm.weight"
_TIED = ("shared.weight", "encoder.embed_tokens.weight")


def umt5_table(names: Iterable[str]) -> NameTable:
    """Original names to those of `UMT5EncoderModel`. Its token embedding has two names, one of
    which may be absent. ComfyUI's file carries its tokenizer as the tensor `spiece_model`."""
    names = set(names)
    embedding, twin = _TIED if _TIED[1] not in names or _TIED[0] in names else _TIED[::-1]
    rows = tensors("", "", [("token_embedding.weight", embedding), ("norm.weight", _FINAL_NORM)])
    for i in range(count(names, r"(?:encoder\.block|blocks)\.(\d+)\.")):
        rows += tensors(f"blocks.{i}.", f"encoder.block.{i}.", _BLOCK)
    return NameTable(tuple(rows), re.compile(rf"{re.escape(twin)}|spiece_model|logit_scale"))
