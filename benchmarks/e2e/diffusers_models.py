"""diffusers' modules with the weights of an official checkpoint, float32, in memory.

Sizes are read off the checkpoint as the export does, so any checkpoint that can be exported can be
built here too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanAnimateTransformer3DModel
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from wan_trt.engine.request import ExpertName
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.layouts.clip_names import clip_table
from wan_trt.export.layouts.correspondence import NameTable
from wan_trt.export.layouts.dit_names import dit_table
from wan_trt.export.layouts.umt5_names import umt5_table
from wan_trt.export.layouts.vae_names import vae_table
from wan_trt.export.modeling.animate import AnimateSizes
from wan_trt.export.modeling.clip import ImageEncoderSizes
from wan_trt.export.tensors import TensorSource


def transformer(checkpoint: Checkpoint) -> torch.nn.Module:
    """WanAnimateTransformer3DModel with the DiT, the motion encoder and the face encoder."""
    image = ImageEncoderSizes.read(clip_weights(checkpoint))
    dit = checkpoint.experts[ExpertName.HIGH]
    animate = AnimateSizes.read(dit.tensors, dit.config, image.tokens)
    sizes, face = animate.dit, animate.face
    channels = {str(face.size >> i): n for i, n in enumerate(face.motion_channels)}
    with init_empty_weights(include_buffers=False):
        model = WanAnimateTransformer3DModel(
            num_attention_heads=sizes.heads,
            attention_head_dim=sizes.head_dim,
            in_channels=sizes.latent_channels + sizes.condition_channels,
            latent_channels=sizes.latent_channels,
            out_channels=sizes.latent_channels,
            text_dim=sizes.text_dim,
            freq_dim=sizes.frequency_dim,
            ffn_dim=sizes.ffn,
            num_layers=sizes.layers,
            eps=sizes.eps,
            image_dim=animate.image.dim,
            added_kv_proj_dim=sizes.dim,
            motion_encoder_channel_sizes=channels,
            motion_encoder_size=face.size,
            motion_style_dim=face.motion_dim,
            motion_dim=face.motion_code,
            motion_encoder_dim=face.motion_dim,
            face_encoder_hidden_dim=face.hidden,
            face_encoder_num_heads=face.groups,
            inject_face_latents_blocks=face.interval,
        )
    return _filled(model, dit.tensors, dit_table)


def clip_weights(checkpoint: Checkpoint) -> TensorSource:
    assert checkpoint.clip is not None, "an Animate checkpoint has CLIP"
    return checkpoint.clip


def vae(checkpoint: Checkpoint) -> torch.nn.Module:
    """AutoencoderKLWan; its latent statistics are the defaults, those of Wan2.1."""
    with init_empty_weights(include_buffers=False):
        model = AutoencoderKLWan(base_dim=checkpoint.vae.shape("encoder.conv1.weight")[0])
    return _filled(model, checkpoint.vae, vae_table)


def image_encoder(checkpoint: Checkpoint) -> torch.nn.Module:
    """CLIPVisionModel. It runs its last block, whose output the pipeline does not use."""
    sizes = ImageEncoderSizes.read(clip_weights(checkpoint))
    config = CLIPVisionConfig(
        hidden_size=sizes.width,
        intermediate_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        image_size=sizes.image_size,
        patch_size=sizes.patch,
        hidden_act="gelu",
    )
    with init_empty_weights(include_buffers=False):
        model = CLIPVisionModel(config)
    return _filled(model, clip_weights(checkpoint), clip_table)


def text_encoder(checkpoint: Checkpoint) -> torch.nn.Module:
    """UMT5EncoderModel."""
    source = checkpoint.t5
    vocabulary, width = source.shape("token_embedding.weight")
    buckets, heads = source.shape("blocks.0.pos_embedding.embedding.weight")
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=source.shape("blocks.0.attn.q.weight")[0] // heads,
        d_ff=source.shape("blocks.0.ffn.fc1.weight")[0],
        num_layers=sum(name.endswith(".norm1.weight") for name in source.names()),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
    )
    with init_empty_weights(include_buffers=False):
        model = UMT5EncoderModel(config)
    return _filled(model, source, umt5_table)


def _filled(
    model: torch.nn.Module, source: TensorSource, table: Callable[[Iterable[str]], NameTable]
) -> torch.nn.Module:
    """The model with every parameter taken from `source`, one tensor in memory twice at most.

    What only other classes have, such as CLIP's projection, is left out. Raises ValueError for a
    parameter that no tensor feeds.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = set(source.names())
    for row in table(names):
        if row.original in names and parameters.keys() >= set(row.parts):
            for name, value in row.split(source.read(row.original)).items():
                _assign(model, name, value.reshape(parameters[name].shape).contiguous())
    if isinstance(model, UMT5EncoderModel):
        model.tie_weights()  # the embedding has two names there
    if left := [name for name, value in model.named_parameters() if value.is_meta]:
        raise ValueError(f"no tensor of the checkpoint feeds {left}")
    return model.eval().requires_grad_(False)


def _assign(model: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, torch.nn.Parameter(value, requires_grad=False))
