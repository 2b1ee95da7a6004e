"""Scratch of graphs that ONNX Runtime's CUDA provider runs, in bytes (pure).

More than a plan needs: it fuses less, computes the VAE in float32 and widens matrices to bfloat16.
Measured with its own allocator (benchmarks/results/provider_memory.json), at 832x480 and 1280x720,
in the first run, which takes the most: the denoiser 50 to 54 bytes for each token and channel, the
VAE's encoder 17,768 and its decoder 38,001 for each pixel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from wan_trt.engine.manifest import Manifest
from wan_trt.engine.memory.footprint import VAE, VideoSize, denoiser_symbols
from wan_trt.engine.models import DENOISER

_DENOISER_NBYTES = 54
_VAE_NBYTES: Mapping[str, int] = {"VAE encoding": 17_800, "VAE decoding": 38_100}


def provider_scratch(manifest: Manifest, size: VideoSize) -> dict[str, int]:
    """Graph -> the most that it needs at a size, of those that need much."""
    symbols = denoiser_symbols(manifest.geometry, size)
    tokens = math.prod(symbols[name] for name in ("frames", "rows", "columns"))
    scratch = {DENOISER: tokens * manifest.geometry.dim * _DENOISER_NBYTES}
    for label, graphs in VAE.items():
        scratch |= dict.fromkeys(graphs, size.height * size.width * _VAE_NBYTES[label])
    return scratch
