"""Names of the official checkpoint's tensors as diffusers and transformers spell them.

Each table is a list of (pattern, targets), the first pattern that matches a whole name decides.
Several targets share the tensor in equal parts along its first dimension; none drop it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

NameRule = tuple[str, tuple[str, ...]]

TRANSFORMER: tuple[NameRule, ...] = (
    (r"(patch_embedding|pose_patch_embedding)\.(.+)", (r"\1.\2",)),
    (r"text_embedding\.0\.(.+)", (r"condition_embedder.text_embedder.linear_1.\1",)),
    (r"text_embedding\.2\.(.+)", (r"condition_embedder.text_embedder.linear_2.\1",)),
    (r"time_embedding\.0\.(.+)", (r"condition_embedder.time_embedder.linear_1.\1",)),
    (r"time_embedding\.2\.(.+)", (r"condition_embedder.time_embedder.linear_2.\1",)),
    (r"time_projection\.1\.(.+)", (r"condition_embedder.time_proj.\1",)),
    (r"img_emb\.proj\.0\.(.+)", (r"condition_embedder.image_embedder.norm1.\1",)),
    (r"img_emb\.proj\.1\.(.+)", (r"condition_embedder.image_embedder.ff.net.0.proj.\1",)),
    (r"img_emb\.proj\.3\.(.+)", (r"condition_embedder.image_embedder.ff.net.2.\1",)),
    (r"img_emb\.proj\.4\.(.+)", (r"condition_embedder.image_embedder.norm2.\1",)),
    (r"head\.modulation", ("scale_shift_table",)),
    (r"head\.head\.(.+)", (r"proj_out.\1",)),
    (r"blocks\.(\d+)\.modulation", (r"blocks.\1.scale_shift_table",)),
    # the names of norm2 and norm3 are exchanged; upstream's norm2 has no weights
    (r"blocks\.(\d+)\.norm3\.(.+)", (r"blocks.\1.norm2.\2",)),
    (r"blocks\.(\d+)\.self_attn\.([qkv])\.(.+)", (r"blocks.\1.attn1.to_\2.\3",)),
    (r"blocks\.(\d+)\.self_attn\.o\.(.+)", (r"blocks.\1.attn1.to_out.0.\2",)),
    (r"blocks\.(\d+)\.self_attn\.(norm_[qk])\.(.+)", (r"blocks.\1.attn1.\2.\3",)),
    (r"blocks\.(\d+)\.cross_attn\.([qkv])\.(.+)", (r"blocks.\1.attn2.to_\2.\3",)),
    (r"blocks\.(\d+)\.cross_attn\.o\.(.+)", (r"blocks.\1.attn2.to_out.0.\2",)),
    (r"blocks\.(\d+)\.cross_attn\.([kv])_img\.(.+)", (r"blocks.\1.attn2.add_\2_proj.\3",)),
    (r"blocks\.(\d+)\.cross_attn\.norm_k_img\.(.+)", (r"blocks.\1.attn2.norm_added_k.\2",)),
    (r"blocks\.(\d+)\.cross_attn\.(norm_[qk])\.(.+)", (r"blocks.\1.attn2.\2.\3",)),
    (r"blocks\.(\d+)\.ffn\.0\.(.+)", (r"blocks.\1.ffn.net.0.proj.\2",)),
    (r"blocks\.(\d+)\.ffn\.2\.(.+)", (r"blocks.\1.ffn.net.2.\2",)),
    (
        r"face_adapter\.fuser_blocks\.(\d+)\.linear1_kv\.(.+)",
        (r"face_adapter.\1.to_k.\2", r"face_adapter.\1.to_v.\2"),
    ),
    (r"face_adapter\.fuser_blocks\.(\d+)\.linear1_q\.(.+)", (r"face_adapter.\1.to_q.\2",)),
    (r"face_adapter\.fuser_blocks\.(\d+)\.linear2\.(.+)", (r"face_adapter.\1.to_out.\2",)),
    (r"face_adapter\.fuser_blocks\.(\d+)\.([qk])_norm\.(.+)", (r"face_adapter.\1.norm_\2.\3",)),
    (r"face_encoder\.padding_tokens", ("face_encoder.padding_tokens",)),
    (r"face_encoder\.(conv\w+)\.conv\.(.+)", (r"face_encoder.\1.\2",)),
    (r"face_encoder\.out_proj\.(.+)", (r"face_encoder.out_proj.\1",)),
    (r"motion_encoder\..+\.kernel", ()),  # the blur, a constant of the module there
    (r"motion_encoder\.dec\.direction\.weight", ("motion_encoder.motion_synthesis_weight",)),
    (r"motion_encoder\.enc\.fc\.(\d+)\.(.+)", (r"motion_encoder.motion_network.\1.\2",)),
    (r"motion_encoder\.enc\.net_app\.convs\.0\.0\.weight", ("motion_encoder.conv_in.weight",)),
    (r"motion_encoder\.enc\.net_app\.convs\.0\.1\.bias", ("motion_encoder.conv_in.act_fn.bias",)),
    # a list that starts with the stem and ends with the last convolution: numbers are off by one
    (
        r"motion_encoder\.enc\.net_app\.convs\.(\d+)\.(conv[12])\.\d\.weight",
        (r"motion_encoder.res_blocks.<\1>.\2.weight",),
    ),
    (
        r"motion_encoder\.enc\.net_app\.convs\.(\d+)\.(conv[12])\.\d\.bias",
        (r"motion_encoder.res_blocks.<\1>.\2.act_fn.bias",),
    ),
    (
        r"motion_encoder\.enc\.net_app\.convs\.(\d+)\.skip\.1\.weight",
        (r"motion_encoder.res_blocks.<\1>.conv_skip.weight",),
    ),
    (r"motion_encoder\.enc\.net_app\.convs\.\d+\.weight", ("motion_encoder.conv_out.weight",)),
)

_VAE_RESIDUAL = (
    (r"residual\.0\.gamma", "norm1.gamma"),
    (r"residual\.2\.(weight|bias)", r"conv1.\g<part>"),
    (r"residual\.3\.gamma", "norm2.gamma"),
    (r"residual\.6\.(weight|bias)", r"conv2.\g<part>"),
    (r"shortcut\.(weight|bias)", r"conv_shortcut.\g<part>"),
)


def _vae_residual(source: str, target: str) -> tuple[NameRule, ...]:
    """The five kinds of tensors of a residual block."""
    return tuple(
        (rf"{source}\.{pattern.replace('(weight', '(?P<part>weight')}", (f"{target}.{name}",))
        for pattern, name in _VAE_RESIDUAL
    )


# the decoder's flat list: three residual blocks and an upsampler for each of its four levels
_VAE_DECODER = tuple(
    rule
    for level in range(4)
    for block in range(3)
    for rule in _vae_residual(
        rf"decoder\.upsamples\.{4 * level + block}", f"decoder.up_blocks.{level}.resnets.{block}"
    )
) + tuple(
    (
        rf"decoder\.upsamples\.{4 * level + 3}\.(resample|time_conv)\.(.+)",
        (rf"decoder.up_blocks.{level}.upsamplers.0.\1.\2",),
    )
    for level in range(3)
)

VAE: tuple[NameRule, ...] = (
    (r"conv1\.(.+)", (r"quant_conv.\1",)),
    (r"conv2\.(.+)", (r"post_quant_conv.\1",)),
    (r"(encoder|decoder)\.conv1\.(.+)", (r"\1.conv_in.\2",)),
    (r"(encoder|decoder)\.head\.0\.gamma", (r"\1.norm_out.gamma",)),
    (r"(encoder|decoder)\.head\.2\.(.+)", (r"\1.conv_out.\2",)),
    (r"(encoder|decoder)\.middle\.1\.(.+)", (r"\1.mid_block.attentions.0.\2",)),
    *_vae_residual(r"(?P<side>encoder|decoder)\.middle\.0", r"\g<side>.mid_block.resnets.0"),
    *_vae_residual(r"(?P<side>encoder|decoder)\.middle\.2", r"\g<side>.mid_block.resnets.1"),
    *_vae_residual(r"encoder\.downsamples\.(?P<layer>\d+)", r"encoder.down_blocks.\g<layer>"),
    (
        r"encoder\.downsamples\.(\d+)\.(resample|time_conv)\.(.+)",
        (r"encoder.down_blocks.\1.\2.\3",),
    ),
    *_VAE_DECODER,
)

_CLIP_LAYER = r"visual\.transformer\.(\d+)"
_CLIP_QKV = tuple(rf"encoder.layers.\1.self_attn.{part}_proj.\2" for part in "qkv")
CLIP: tuple[NameRule, ...] = (
    (r"visual\.cls_embedding", ("embeddings.class_embedding",)),
    (r"visual\.pos_embedding", ("embeddings.position_embedding.weight",)),
    (r"visual\.patch_embedding\.weight", ("embeddings.patch_embedding.weight",)),
    (r"visual\.pre_norm\.(.+)", (r"pre_layrnorm.\1",)),
    (r"visual\.post_norm\.(.+)", (r"post_layernorm.\1",)),
    (_CLIP_LAYER + r"\.norm([12])\.(.+)", (r"encoder.layers.\1.layer_norm\2.\3",)),
    (_CLIP_LAYER + r"\.attn\.to_qkv\.(.+)", _CLIP_QKV),
    (_CLIP_LAYER + r"\.attn\.proj\.(.+)", (r"encoder.layers.\1.self_attn.out_proj.\2",)),
    (_CLIP_LAYER + r"\.mlp\.0\.(.+)", (r"encoder.layers.\1.mlp.fc1.\2",)),
    (_CLIP_LAYER + r"\.mlp\.2\.(.+)", (r"encoder.layers.\1.mlp.fc2.\2",)),
    (r"visual\.head|log_scale|textual\..+", ()),
)

_T5_BLOCK = r"blocks\.(\d+)"
_T5_ATTENTION = r"encoder.block.\1.layer.0"
_T5_FEED_FORWARD = r"encoder.block.\1.layer.1"
T5: tuple[NameRule, ...] = (
    (r"token_embedding\.weight", ("shared.weight",)),
    (r"norm\.weight", ("encoder.final_layer_norm.weight",)),
    (_T5_BLOCK + r"\.norm1\.weight", (_T5_ATTENTION + ".layer_norm.weight",)),
    (_T5_BLOCK + r"\.norm2\.weight", (_T5_FEED_FORWARD + ".layer_norm.weight",)),
    (_T5_BLOCK + r"\.attn\.([qkvo])\.weight", (_T5_ATTENTION + r".SelfAttention.\2.weight",)),
    (
        _T5_BLOCK + r"\.pos_embedding\.embedding\.weight",
        (_T5_ATTENTION + ".SelfAttention.relative_attention_bias.weight",),
    ),
    (_T5_BLOCK + r"\.ffn\.gate\.0\.weight", (_T5_FEED_FORWARD + ".DenseReluDense.wi_0.weight",)),
    (_T5_BLOCK + r"\.ffn\.fc1\.weight", (_T5_FEED_FORWARD + ".DenseReluDense.wi_1.weight",)),
    (_T5_BLOCK + r"\.ffn\.fc2\.weight", (_T5_FEED_FORWARD + ".DenseReluDense.wo.weight",)),
)


def targets(name: str, rules: Sequence[NameRule]) -> tuple[str, ...]:
    """The names that the tensor `name` goes to. Raises KeyError where no pattern matches."""
    for pattern, replacements in rules:
        if match := re.fullmatch(pattern, name):
            return tuple(_one_less(match.expand(target)) for target in replacements)
    raise KeyError(f"no rule for {name}")


def _one_less(name: str) -> str:
    """`<3>` in a target stands for 2."""
    return re.sub(r"<(\d+)>", lambda match: str(int(match[1]) - 1), name)
