"""Names and shapes of the DiTs' tensors, as the official repositories spell them."""

from __future__ import annotations

from wan_trt.export.synthetic.sizes import CheckpointSizes

Shape = tuple[int, ...]


def dit_shapes(sizes: CheckpointSizes) -> dict[str, Shape]:
    """All tensors of Animate's diffusion_pytorch_model*.safetensors, blur kernels included."""
    dim = sizes.dim
    shapes = image_to_video_shapes(sizes)
    for i in range(sizes.layers):
        attention = f"blocks.{i}.cross_attn"
        shapes |= linear(f"{attention}.k_img", dim, dim) | linear(f"{attention}.v_img", dim, dim)
        shapes[f"{attention}.norm_k_img.weight"] = (dim,)
    return (
        shapes
        | _conv("pose_patch_embedding", dim, sizes.latent_channels, 1, 2, 2)
        | norm("img_emb.proj.0", sizes.image_width)
        | linear("img_emb.proj.1", sizes.image_width, sizes.image_width)
        | linear("img_emb.proj.3", sizes.image_width, dim)
        | norm("img_emb.proj.4", dim)
        | _motion_encoder(sizes)
        | _face_encoder(sizes)
        | _face_adapter(sizes)
    )


def image_to_video_shapes(sizes: CheckpointSizes) -> dict[str, Shape]:
    """All tensors of one expert of Wan2.2-I2V-A14B; they are also a part of Animate's DiT."""
    dim = sizes.dim
    channels = sizes.latent_channels
    return (
        _conv("patch_embedding", dim, channels + sizes.condition_channels, 1, 2, 2)
        | linear("text_embedding.0", sizes.text_dim, dim)
        | linear("text_embedding.2", dim, dim)
        | linear("time_embedding.0", sizes.frequency_dim, dim)
        | linear("time_embedding.2", dim, dim)
        | linear("time_projection.1", dim, 6 * dim)
        | _blocks(sizes)
        | {"head.modulation": (1, 2, dim)}
        | linear("head.head", dim, 4 * channels)
    )


def linear(name: str, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def norm(name: str, dim: int) -> dict[str, Shape]:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def _conv(name: str, outputs: int, *inputs_and_kernel: int) -> dict[str, Shape]:
    return {f"{name}.weight": (outputs, *inputs_and_kernel), f"{name}.bias": (outputs,)}


def _blocks(sizes: CheckpointSizes) -> dict[str, Shape]:
    dim = sizes.dim
    shapes: dict[str, Shape] = {}
    for i in range(sizes.layers):
        block = f"blocks.{i}"
        shapes[f"{block}.modulation"] = (1, 6, dim)
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o"):
            shapes |= linear(f"{block}.{part}", dim, dim)
        for part in ("self_attn.norm_q", "self_attn.norm_k"):
            shapes[f"{block}.{part}.weight"] = (dim,)
        shapes |= norm(f"{block}.norm3", dim)
        for part in ("q", "k", "v", "o"):
            shapes |= linear(f"{block}.cross_attn.{part}", dim, dim)
        for part in ("norm_q", "norm_k"):
            shapes[f"{block}.cross_attn.{part}.weight"] = (dim,)
        shapes |= linear(f"{block}.ffn.0", dim, sizes.ffn)
        shapes |= linear(f"{block}.ffn.2", sizes.ffn, dim)
    return shapes


def _motion_encoder(sizes: CheckpointSizes) -> dict[str, Shape]:
    channels = sizes.motion_channels
    convs = "motion_encoder.enc.net_app.convs"
    shapes: dict[str, Shape] = {
        f"{convs}.0.0.weight": (channels[0], 3, 1, 1),
        f"{convs}.0.1.bias": (1, channels[0], 1, 1),
    }
    for i in range(1, len(channels)):
        inputs, outputs = channels[i - 1], channels[i]
        shapes |= {
            f"{convs}.{i}.conv1.0.weight": (inputs, inputs, 3, 3),
            f"{convs}.{i}.conv1.1.bias": (1, inputs, 1, 1),
            f"{convs}.{i}.conv2.0.kernel": (4, 4),
            f"{convs}.{i}.conv2.1.weight": (outputs, inputs, 3, 3),
            f"{convs}.{i}.conv2.2.bias": (1, outputs, 1, 1),
            f"{convs}.{i}.skip.0.kernel": (4, 4),
            f"{convs}.{i}.skip.1.weight": (outputs, inputs, 1, 1),
        }
    motion = sizes.motion_dim
    shapes[f"{convs}.{len(channels)}.weight"] = (motion, channels[-1], 4, 4)
    for i in range(4):
        shapes |= linear(f"motion_encoder.enc.fc.{i}", motion, motion)
    shapes |= linear("motion_encoder.enc.fc.4", motion, sizes.motion_code)
    shapes["motion_encoder.dec.direction.weight"] = (motion, sizes.motion_code)
    return shapes


def _face_encoder(sizes: CheckpointSizes) -> dict[str, Shape]:
    hidden = sizes.face_hidden
    return (
        {"face_encoder.padding_tokens": (1, 1, 1, sizes.dim)}
        | _conv("face_encoder.conv1_local.conv", sizes.face_groups * hidden, sizes.motion_dim, 3)
        | _conv("face_encoder.conv2.conv", hidden, hidden, 3)
        | _conv("face_encoder.conv3.conv", hidden, hidden, 3)
        | linear("face_encoder.out_proj", hidden, sizes.dim)
    )


def _face_adapter(sizes: CheckpointSizes) -> dict[str, Shape]:
    dim = sizes.dim
    shapes: dict[str, Shape] = {}
    for i in range(sizes.face_layers):
        block = f"face_adapter.fuser_blocks.{i}"
        shapes |= linear(f"{block}.linear1_kv", dim, 2 * dim)
        shapes |= linear(f"{block}.linear1_q", dim, dim)
        shapes |= linear(f"{block}.linear2", dim, dim)
        shapes[f"{block}.q_norm.weight"] = (sizes.head_dim,)
        shapes[f"{block}.k_norm.weight"] = (sizes.head_dim,)
    return shapes
