"""The VAE of Wan2.1 and Wan2.2-A14B: four recurrent graphs.

Encoder and decoder each export as one graph for the first chunk of a clip and one for all later
chunks. The first chunk is a single frame with nothing before it: of each kernel only the last of
three taps meets anything but zeros. Its graphs therefore have weights of their own, a third of
the size, and do a third of the work.
"""

from __future__ import annotations

from collections.abc import Iterable

from wan_trt.export.modeling.vae_decoder import VaeDecoder
from wan_trt.export.modeling.vae_encoder import VaeEncoder
from wan_trt.export.modeling.vae_sizes import VaeSizes

__all__ = ["VaeDecoder", "VaeEncoder", "VaeSizes", "unused"]


def unused(names: Iterable[str]) -> set[str]:
    """Checkpoint tensors that the four graphs together leave alone: none."""
    del names
    return set()
