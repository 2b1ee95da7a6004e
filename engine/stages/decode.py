"""Latents -> frames: decoded latent by latent and written at once."""

from __future__ import annotations

from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSink
from wan_trt.engine.pixels import round_bfloat16
from wan_trt.engine.segments import Segment
from wan_trt.engine.space import Tensor
from wan_trt.engine.stages.vae import Check, Vae


def decode_segment(
    vae: Vae,
    latents: Tensor,
    reference_latents: int,
    segment: Segment,
    tail: NDArray[np.float32],
    sink: FrameSink,
    check: Check,
) -> None:
    """Write the kept frames of a finished segment, and its last frames into `tail`.

    `latents` float32 [16, F, h, w]; the first `reference_latents` (0 or 1) are not the video's.
    `tail` float32 [3, overlap, height, width] is for the next segment: rounded to bfloat16 once,
    never passed through 8 bits. Chunks beyond the last kept frame, surplus of the padded driver,
    are not decoded; they are the last segment's, whose tail nobody needs.
    """
    values = vae.space.read(latents)
    position = 0
    with closing(vae.decode(latents[:, reference_latents:])) as chunks:
        for chunk in chunks:
            if position == 0:  # until now there was nothing that cannot be done again
                sink.write_latents(segment.index, values)
            check()
            frames = chunk.shape[1]
            first = max(segment.carried - position, 0)
            last = min(segment.kept_stop - position, frames)
            if first < last:
                sink.write(np.ascontiguousarray(chunk[:, first:last].transpose(1, 2, 3, 0)))
            before = segment.frames - tail.shape[1] - position
            for index in range(max(before, 0), frames):
                tail[:, index - before] = round_bfloat16(np.ascontiguousarray(chunk[:, index]))
            position += frames
            if position >= segment.kept_stop:
                break
