"""How much work a pass is, for costs that nobody measured. Only ratios matter: they are rough."""

from __future__ import annotations

from wan_trt.engine.geometry import Geometry
from wan_trt.engine.scheduling.costs import CostKey
from wan_trt.engine.scheduling.unit import Stage

_FEED_FORWARD = 2.7  # its width by the model's, in Wan2.2-14B
_ENCODE_PER_PIXEL = 5.1e6  # of the VAE, counted at 832x480 and 1280x720
_DECODE_PER_PIXEL = 8.5e6


def operations(key: CostKey, geometry: Geometry) -> float:
    """Floating-point operations of one pass, a multiplication and an addition being two."""
    pixels = key.size.height * key.size.width * key.size.frames
    match key.stage:
        case Stage.CONDITIONING:
            videos = 1 if geometry.face is None else 2  # Animate encodes the pose too
            return _ENCODE_PER_PIXEL * pixels * videos
        case Stage.DECODE:
            return _DECODE_PER_PIXEL * pixels
        case Stage.DENOISE:
            return _denoiser(key, geometry)
        case Stage.RESULT:
            raise ValueError("a result is written as soon as it can be: it has no cost to weigh")


def _denoiser(key: CostKey, geometry: Geometry) -> float:
    latents = (key.size.frames - 1) // geometry.time_stride + 1 + (geometry.face is not None)
    area = key.size.height * key.size.width // geometry.pixel_multiple**2
    tokens, dim = latents * area, geometry.dim
    keys = geometry.text_tokens + (geometry.image.tokens if geometry.image else 0)
    linears = (12 + 4 * _FEED_FORWARD) * tokens * dim**2  # self and cross attention, feed forward
    attentions = 4 * tokens * (tokens + keys) * dim
    return geometry.layers * (linears + attentions)
