"""Latents -> frames: decoded latent by latent and written at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSink
from wan_trt.engine.pixels import round_bfloat16
from wan_trt.engine.segments import Segment
from wan_trt.engine.stages.vae import Check, Vae


def decode_segment(
    vae: Vae,
    latents: NDArray[np.float32],
    segment: Segment,
    overlap: int,
    sink: FrameSink,
    check: Check,
) -> NDArray[np.float32]:
    """Write the kept frames of a finished segment and return its tail for the next one.

    `latents` float32 [16, latents + 1, h, w] with the reference latent first, which is dropped.
    The tail is float32 [3, overlap, height, width], rounded to bfloat16 once; it never passes
    through 8 bits. Chunks beyond the last
    kept frame, surplus of the padded driver, are not decoded; the tail is then what was last.
    """
    sink.write_latents(segment.index, latents)
    tail: list[NDArray[np.float32]] = []
    position = 0
    for chunk in vae.decode(latents[:, 1:]):
        check()
        frames = chunk.shape[1]
        first = max(segment.carried - position, 0)
        last = min(segment.kept_stop - position, frames)
        if first < last:
            sink.write(np.ascontiguousarray(chunk[:, first:last].transpose(1, 2, 3, 0)))
        tail = [*tail, *(chunk[:, i].copy() for i in range(frames))][-overlap:]
        position += frames
        if position >= segment.kept_stop:
            break
    return round_bfloat16(np.stack(tail, axis=1))
