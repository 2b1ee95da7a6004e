"""Writes a made-up LoRA as musubi-tuner would save it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from wan_trt.export.synthetic.dit_shapes import dit_shapes
from wan_trt.export.synthetic.sizes import CheckpointSizes
from wan_trt.export.synthetic.values import generator

# What musubi trains on an A14B expert: ten linears of every block.
BLOCK_LINEARS = (
    *(f"{attention}.{part}" for attention in ("self_attn", "cross_attn") for part in "qkvo"),
    "ffn.0",
    "ffn.2",
)


def write_musubi_lora(
    path: Path,
    sizes: CheckpointSizes,
    *,
    rank: int = 4,
    alpha: float | None = 1.0,
    seed: int = 0,
    targets: Sequence[str] | None = None,
    ratio: float = 0.2,
) -> Path:
    """Random factors for the modules `targets` (default: BLOCK_LINEARS of every block).

    `alpha` None leaves the key out. `ratio` is about how large the change is in proportion to
    the weights of `write_checkpoint`, whatever rank and alpha are. Returns the path.
    """
    shapes = dit_shapes(sizes)
    if targets is None:
        targets = [f"blocks.{i}.{part}" for i in range(sizes.layers) for part in BLOCK_LINEARS]
    scale = 1.0 if alpha is None else alpha / rank
    tensors: dict[str, torch.Tensor] = {}
    for module in targets:
        outputs, *inputs = shapes[f"{module}.weight"]
        random = generator(f"{seed}/{module}")
        down = torch.randn(rank, *inputs, generator=random) / math.sqrt(math.prod(inputs))
        up = torch.randn(outputs, rank, *[1] * (len(inputs) - 1), generator=random)
        key = f"lora_unet_{module.replace('.', '_')}"
        tensors[f"{key}.lora_down.weight"] = down.to(torch.bfloat16)
        tensors[f"{key}.lora_up.weight"] = (up * ratio / (scale * math.sqrt(rank))).bfloat16()
        if alpha is not None:
            tensors[f"{key}.alpha"] = torch.tensor(alpha)
    metadata = {
        "ss_network_module": "networks.lora_wan",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(rank if alpha is None else alpha),
    }
    save_file(tensors, path, metadata)
    return path
