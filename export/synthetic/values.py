"""Random values whose scales keep activations of order one through every network.

Each tensor has a generator of its own, seeded by its name, so that a tensor does not change when
others are added.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass

import torch

from wan_trt.export.layouts.dit_names import blur_kernel
from wan_trt.export.synthetic.dit_shapes import Shape


@dataclass(frozen=True)
class Spread:
    """Normal distribution: `mean`, and a deviation of `gain` / sqrt(fan in) or of `std`."""

    gain: float = 0.0
    std: float = 0.0
    mean: float = 0.0

    def deviation(self, shape: Shape) -> float:
        return self.gain / math.sqrt(math.prod(shape[1:])) if self.gain else self.std


# The first pattern that a name contains decides. Residual branches end with gains below one, so
# that depth does not let the residual stream grow; gains above one make up for what activations
# and averages take away.
DIT = (
    (r"norm_[qk]\w*\.weight$|[qk]_norm\.weight$", Spread(mean=1.3, std=0.2)),
    (r"norm3\.weight$|proj\.[04]\.weight$", Spread(mean=1.0, std=0.15)),
    (r"modulation$", Spread(std=0.3)),
    (r"padding_tokens$", Spread(std=0.8)),
    (r"enc\.(net_app|fc)\..*weight$|direction\.weight$", Spread(std=1.0)),
    (r"bias$", Spread(std=0.1)),
    (r"(attn\.o|ffn\.2|time_projection\.1)\.weight$", Spread(gain=0.7)),
    (r"(patch_embedding|face_adapter\..*linear2)\.weight$", Spread(gain=2.0)),
    (r"(embedding\.[02]|img_emb\.proj\.[13]|face_encoder\..*)\.weight$", Spread(gain=1.5)),
    (r"", Spread(gain=1.1)),
)
VAE = (
    (r"gamma$", Spread(mean=1.0, std=0.1)),
    (r"bias$", Spread(std=0.05)),
    (r"^(encoder\.head\.2|conv1)\.weight$", Spread(gain=2.0)),
    (r"^decoder\.head\.2\.weight$", Spread(gain=0.6)),
    (r"", Spread(gain=1.25)),
)
CLIP = (
    (r"norm\d?\.weight$", Spread(mean=1.0, std=0.12)),
    (r"(bias|log_scale)$", Spread(std=0.1)),
    (r"(cls|pos)_embedding$", Spread(std=0.5)),
    (r"", Spread(gain=1.2)),
)
T5 = (
    (r"norm\d?\.weight$", Spread(mean=1.0, std=0.15)),
    (r"token_embedding\.weight$", Spread(std=1.0)),
    (r"pos_embedding\.embedding\.weight$", Spread(std=0.8)),
    (r"attn\.q\.weight$", Spread(gain=0.2)),  # scores are not divided by sqrt(head_dim)
    (r"", Spread(gain=1.1)),
)


Spreads = tuple[tuple[str, Spread], ...]


def spread_of(name: str, spreads: Spreads) -> Spread:
    """That of the first pattern that the name contains."""
    return next(spread for pattern, spread in spreads if re.search(pattern, name))


def random_tensor(name: str, shape: Shape, spreads: Spreads, seed: int | str) -> torch.Tensor:
    """float32 values of the tensor `name`; equal arguments give equal values."""
    if name.endswith(".kernel"):
        return blur_kernel()
    spread = spread_of(name, spreads)
    values = torch.randn(shape, generator=generator(f"{seed}/{name}"))
    return values * spread.deviation(shape) + spread.mean


def generator(label: str) -> torch.Generator:
    """A generator whose seed is a hash of the label."""
    digest = hashlib.sha256(label.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
