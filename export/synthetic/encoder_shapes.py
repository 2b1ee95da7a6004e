"""Names and shapes of the tensors in the three .pth files: VAE, CLIP and UMT5."""

from __future__ import annotations

from itertools import pairwise

from wan_trt.export.synthetic.dit_shapes import Shape, linear, norm
from wan_trt.export.synthetic.sizes import T5_HEAD_DIM, CheckpointSizes

_LATENT_CHANNELS = 16
_STAGES = 4


def vae_shapes(sizes: CheckpointSizes) -> dict[str, Shape]:
    """All tensors of Wan2.1_VAE.pth; `vae_dim` is 96 upstream."""
    latent = _LATENT_CHANNELS
    return (
        _vae_encoder(sizes.vae_dim)
        | _conv3d("conv1", 2 * latent, 2 * latent, (1, 1, 1))
        | _conv3d("conv2", latent, latent, (1, 1, 1))
        | _vae_decoder(sizes.vae_dim)
    )


def _vae_encoder(dim: int) -> dict[str, Shape]:
    shapes = _conv3d("encoder.conv1", 3, dim)
    widths = (dim, dim, 2 * dim, 4 * dim, 4 * dim)
    position = 0
    for stage, (inputs, outputs) in enumerate(pairwise(widths)):
        for block_inputs in (inputs, outputs):
            shapes |= _residual(f"encoder.downsamples.{position}", block_inputs, outputs)
            position += 1
        if stage < _STAGES - 1:
            name = f"encoder.downsamples.{position}"
            shapes |= _conv2d(f"{name}.resample.1", outputs, outputs, 3)
            if stage > 0:
                shapes |= _conv3d(f"{name}.time_conv", outputs, outputs, (3, 1, 1))
            position += 1
    shapes |= _middle("encoder", 4 * dim)
    return shapes | _vae_head("encoder", 4 * dim, 2 * _LATENT_CHANNELS)


def _vae_decoder(dim: int) -> dict[str, Shape]:
    shapes = _conv3d("decoder.conv1", _LATENT_CHANNELS, 4 * dim)
    shapes |= _middle("decoder", 4 * dim)
    widths = (4 * dim, 4 * dim, 4 * dim, 2 * dim, dim)
    position = 0
    for stage, (before, outputs) in enumerate(pairwise(widths)):
        # the convolution that ends an upsampling halves the channels
        inputs = before // 2 if stage else before
        for block_inputs in (inputs, outputs, outputs):
            shapes |= _residual(f"decoder.upsamples.{position}", block_inputs, outputs)
            position += 1
        if stage < _STAGES - 1:
            name = f"decoder.upsamples.{position}"
            shapes |= _conv2d(f"{name}.resample.1", outputs, outputs // 2, 3)
            if stage < 2:
                shapes |= _conv3d(f"{name}.time_conv", outputs, 2 * outputs, (3, 1, 1))
            position += 1
    return shapes | _vae_head("decoder", dim, 3)


def _residual(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {f"{name}.residual.0.gamma": (inputs, 1, 1, 1)}
    shapes |= _conv3d(f"{name}.residual.2", inputs, outputs)
    shapes[f"{name}.residual.3.gamma"] = (outputs, 1, 1, 1)
    shapes |= _conv3d(f"{name}.residual.6", outputs, outputs)
    if inputs != outputs:
        shapes |= _conv3d(f"{name}.shortcut", inputs, outputs, (1, 1, 1))
    return shapes


def _middle(side: str, dim: int) -> dict[str, Shape]:
    attention = f"{side}.middle.1"
    return (
        _residual(f"{side}.middle.0", dim, dim)
        | {f"{attention}.norm.gamma": (dim, 1, 1)}
        | _conv2d(f"{attention}.to_qkv", dim, 3 * dim, 1)
        | _conv2d(f"{attention}.proj", dim, dim, 1)
        | _residual(f"{side}.middle.2", dim, dim)
    )


def _vae_head(side: str, dim: int, outputs: int) -> dict[str, Shape]:
    return {f"{side}.head.0.gamma": (dim, 1, 1, 1)} | _conv3d(f"{side}.head.2", dim, outputs)


def _conv3d(
    name: str, inputs: int, outputs: int, kernel: tuple[int, int, int] = (3, 3, 3)
) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)}


def _conv2d(name: str, inputs: int, outputs: int, kernel: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs, kernel, kernel), f"{name}.bias": (outputs,)}


def clip_shapes(sizes: CheckpointSizes) -> dict[str, Shape]:
    """The visual half of the CLIP file, without its prefix `visual.`."""
    width, patch = sizes.image_width, sizes.image_patch
    shapes: dict[str, Shape] = {
        "cls_embedding": (1, 1, width),
        "pos_embedding": (1, sizes.image_tokens, width),
        "head": (width, sizes.image_projection),
        "patch_embedding.weight": (width, 3, patch, patch),
    }
    shapes |= norm("pre_norm", width)
    for i in range(sizes.image_layers):
        block = f"transformer.{i}"
        shapes |= norm(f"{block}.norm1", width)
        shapes |= linear(f"{block}.attn.to_qkv", width, 3 * width)
        shapes |= linear(f"{block}.attn.proj", width, width)
        shapes |= norm(f"{block}.norm2", width)
        shapes |= linear(f"{block}.mlp.0", width, 4 * width)
        shapes |= linear(f"{block}.mlp.2", 4 * width, width)
    return shapes | norm("post_norm", width)


def clip_file_shapes(sizes: CheckpointSizes) -> dict[str, Shape]:
    """The CLIP file: its visual half, and a little of the textual half, which nothing uses."""
    visual = {f"visual.{name}": shape for name, shape in clip_shapes(sizes).items()}
    textual = linear("textual.blocks.0.attn.q", 16, 16) | norm("textual.blocks.0.norm1", 16)
    return visual | textual | {"textual.token_embedding.weight": (40, 16), "log_scale": ()}


def t5_shapes(sizes: CheckpointSizes) -> dict[str, Shape]:
    """All tensors of models_t5_umt5-xxl-enc-bf16.pth."""
    dim, attention = sizes.text_dim, sizes.text_heads * T5_HEAD_DIM
    shapes: dict[str, Shape] = {"token_embedding.weight": (sizes.text_vocabulary, dim)}
    for i in range(sizes.text_layers):
        block = f"blocks.{i}"
        shapes[f"{block}.norm1.weight"] = (dim,)
        for part in ("q", "k", "v"):
            shapes[f"{block}.attn.{part}.weight"] = (attention, dim)
        shapes[f"{block}.attn.o.weight"] = (dim, attention)
        shapes[f"{block}.norm2.weight"] = (dim,)
        shapes[f"{block}.ffn.gate.0.weight"] = (sizes.text_ffn, dim)
        shapes[f"{block}.ffn.fc1.weight"] = (sizes.text_ffn, dim)
        shapes[f"{block}.ffn.fc2.weight"] = (dim, sizes.text_ffn)
        shapes[f"{block}.pos_embedding.embedding.weight"] = (sizes.text_buckets, sizes.text_heads)
    shapes["norm.weight"] = (dim,)
    return shapes
