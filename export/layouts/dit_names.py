"""The DiT: names of the original repositories and of diffusers.

Wan2.2-Animate-14B is `WanAnimateTransformer3DModel` there, an expert of Wan2.2-I2V-A14B is
`WanTransformer3DModel`. Both have the same blocks; what only Animate has stands apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from wan_trt.export.layouts.correspondence import (
    CHANNELS,
    Correspondence,
    NameTable,
    count,
    modules,
    tensors,
)

_MODULES = (
    ("patch_embedding", "patch_embedding"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("head.head", "proj_out"),
)
_BLOCK_MODULES = (
    ("self_attn.q", "attn1.to_q"),
    ("self_attn.k", "attn1.to_k"),
    ("self_attn.v", "attn1.to_v"),
    ("self_attn.o", "attn1.to_out.0"),
    # The names of norm2 and norm3 are exchanged; upstream's norm2 has no weights.
    ("norm3", "norm2"),
    ("cross_attn.q", "attn2.to_q"),
    ("cross_attn.k", "attn2.to_k"),
    ("cross_attn.v", "attn2.to_v"),
    ("cross_attn.o", "attn2.to_out.0"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
)
_BLOCK_TENSORS = (
    ("modulation", "scale_shift_table"),
    ("self_attn.norm_q.weight", "attn1.norm_q.weight"),
    ("self_attn.norm_k.weight", "attn1.norm_k.weight"),
    ("cross_attn.norm_q.weight", "attn2.norm_q.weight"),
    ("cross_attn.norm_k.weight", "attn2.norm_k.weight"),
)

# Of Animate alone.
_IMAGE_MODULES = (
    ("proj.0", "norm1"),
    ("proj.1", "ff.net.0.proj"),
    ("proj.3", "ff.net.2"),
    ("proj.4", "norm2"),
)
_BLOCK_IMAGE_MODULES = (("k_img", "add_k_proj"), ("v_img", "add_v_proj"))
_FACE_ENCODER_MODULES = (
    ("conv1_local.conv", "conv1_local"),
    ("conv2.conv", "conv2"),
    ("conv3.conv", "conv3"),
    ("out_proj", "out_proj"),
)
_CONVS = "motion_encoder.enc.net_app.convs"


def dit_table(names: Iterable[str]) -> NameTable:
    """Original names to those of diffusers; `names`, in either spelling, tell how many blocks
    there are and whether they are those of Animate."""
    names = list(names)
    return NameTable(tuple(dit_rows(names) if is_animate(names) else _trunk_rows(names)))


def dit_rows(names: Iterable[str]) -> list[Correspondence]:
    """What `names` can be of any Wan model, and more: not only Animate has an image embedding."""
    names = list(names)
    return _trunk_rows(names) + _animate_rows(names)


def is_animate(names: Iterable[str]) -> bool:
    return any(name.startswith(("face_adapter.", "pose_patch_embedding.")) for name in names)


def blur_kernel() -> torch.Tensor:
    """The constant of the motion encoder's down blocks: [1,3,3,1] x [1,3,3,1] / 64."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(line, line) / 64


def _trunk_rows(names: list[str]) -> list[Correspondence]:
    rows = modules("", "", _MODULES)
    rows += tensors("", "", [("head.modulation", "scale_shift_table")])
    for i in range(_blocks(names)):
        rows += modules(f"blocks.{i}.", f"blocks.{i}.", _BLOCK_MODULES)
        rows += tensors(f"blocks.{i}.", f"blocks.{i}.", _BLOCK_TENSORS)
    return rows


def _blocks(names: Iterable[str]) -> int:
    return count(names, r"blocks\.(\d+)\.")


def _animate_rows(names: list[str]) -> list[Correspondence]:
    rows = modules("", "", [("pose_patch_embedding", "pose_patch_embedding")])
    rows += modules("img_emb.", "condition_embedder.image_embedder.", _IMAGE_MODULES)
    for i in range(_blocks(names)):
        original, other = f"blocks.{i}.cross_attn.", f"blocks.{i}.attn2."
        rows += modules(original, other, _BLOCK_IMAGE_MODULES)
        rows += tensors(original, other, [("norm_k_img.weight", "norm_added_k.weight")])
    down_blocks = max(
        count(names, r"motion_encoder\.enc\.net_app\.convs\.(\d+)\.conv1\.") - 1,
        count(names, r"motion_encoder\.res_blocks\.(\d+)\."),
    )
    rows += _motion_encoder_rows(down_blocks)
    rows += modules("face_encoder.", "face_encoder.", _FACE_ENCODER_MODULES)
    rows += tensors("face_encoder.", "face_encoder.", [("padding_tokens", "padding_tokens")])
    for i in range(count(names, r"face_adapter\.(?:fuser_blocks\.)?(\d+)\.")):
        rows += _face_block_rows(f"face_adapter.fuser_blocks.{i}.", f"face_adapter.{i}.")
    return rows


def _motion_encoder_rows(down_blocks: int) -> list[Correspondence]:
    """The original list starts with the stem and ends with the last convolution; diffusers names
    these apart and has the blurs as constants of its modules."""
    other = "motion_encoder."
    rows = [
        Correspondence(f"{_CONVS}.0.0.weight", (f"{other}conv_in.weight",)),
        Correspondence(f"{_CONVS}.0.1.bias", (f"{other}conv_in.act_fn.bias",), CHANNELS),
    ]
    for i in range(down_blocks):
        there, block = f"{_CONVS}.{i + 1}", f"{other}res_blocks.{i}"
        rows += tensors(
            there,
            block,
            [
                (".conv1.0.weight", ".conv1.weight"),
                (".conv2.1.weight", ".conv2.weight"),
                (".skip.1.weight", ".conv_skip.weight"),
            ],
        )
        rows += [
            Correspondence(f"{there}.conv1.1.bias", (f"{block}.conv1.act_fn.bias",), CHANNELS),
            Correspondence(f"{there}.conv2.2.bias", (f"{block}.conv2.act_fn.bias",), CHANNELS),
            Correspondence(f"{there}.conv2.0.kernel", (), constant=blur_kernel),
            Correspondence(f"{there}.skip.0.kernel", (), constant=blur_kernel),
        ]
    last = f"{_CONVS}.{down_blocks + 1}.weight"
    rows += tensors("", other, [(last, "conv_out.weight")])
    rows += modules(
        "motion_encoder.enc.", other, ((f"fc.{i}", f"motion_network.{i}") for i in range(5))
    )
    rows += tensors("", other, [("motion_encoder.dec.direction.weight", "motion_synthesis_weight")])
    return rows


def _face_block_rows(original: str, other: str) -> list[Correspondence]:
    return [
        *(
            Correspondence(
                f"{original}linear1_kv.{part}", (f"{other}to_k.{part}", f"{other}to_v.{part}")
            )
            for part in ("weight", "bias")
        ),
        *modules(original, other, [("linear1_q", "to_q"), ("linear2", "to_out")]),
        *tensors(
            original,
            other,
            [("q_norm.weight", "norm_q.weight"), ("k_norm.weight", "norm_k.weight")],
        ),
    ]
