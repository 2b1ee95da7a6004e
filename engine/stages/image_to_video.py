"""Conditioning of image-to-video: a clip that begins, and perhaps ends, with a given picture.

condition channel    first latent   ..   last latent
0..3   mask          1              0    channel 3 (the last frame) 1 where one is given
4..19  latents       VAE(first frame, mid-grey .., last frame or mid-grey)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.pixels import mask_channels
from wan_trt.engine.request import ImageToVideoRequest
from wan_trt.engine.segments import Segment
from wan_trt.engine.stages.conditioning import MASK_CHANNELS, Tensors
from wan_trt.engine.stages.encoders import Encoders, grey_reader
from wan_trt.engine.stages.vae import Check
from wan_trt.engine.stills import crop_to_aspect, still


class ImageToVideoConditioning:
    """The condition of one image-to-video job, all float32, in the job's `tensors`: `text_rows`
    and `negative_rows` [text_tokens, text_dim], `condition` [20, latents, h, w]."""

    def __init__(
        self, request: ImageToVideoRequest, encoders: Encoders, tensors: Tensors, check: Check
    ) -> None:
        """Encode the prompts."""
        self._request = request
        self._encoders = encoders
        self._space = encoders.space
        self.condition = tensors["condition"]
        positive, negative = encoders.text_rows(request, check)
        self._space.write(tensors["text_rows"], positive)
        if negative is not None:
            self._space.write(tensors["negative_rows"], negative)

    def encode(self, segment: Segment, carried: NDArray[np.float32], check: Check) -> None:
        """The only segment carries nothing."""
        del carried
        given = self._given_frames()
        grey = grey_reader(self._request.height, self._request.width)

        def read(start: int, stop: int) -> NDArray[np.float32]:
            frames = grey(start, stop).copy()
            for index in given.keys() & set(range(start, stop)):
                frames[:, index - start] = given[index]
            return frames

        latents = self.condition[MASK_CHANNELS:]
        self._encoders.vae.encode(segment.frames, read, latents, check)
        keep = np.zeros((segment.frames, *latents.shape[2:]), np.float32)
        keep[list(given)] = 1
        mask = mask_channels(keep, self._encoders.geometry.time_stride)
        self._space.write(self.condition[:MASK_CHANNELS], mask)

    def _given_frames(self) -> dict[int, NDArray[np.float32]]:
        """Frames [3, height, width] by their index. The last one is first cropped to the aspect of
        the reference, which is stretched to the video's size."""
        request = self._request
        size = request.height, request.width
        given = {0: still(request.reference, *size)}
        if request.last_frame is not None:
            cropped = crop_to_aspect(request.last_frame, *request.reference.shape[:2])
            given[request.frames - 1] = still(cropped, *size)
        return given
