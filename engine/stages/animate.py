"""Conditioning of Animate: a character that moves as a driver does.

For a job: text rows, image features and the latent of the reference. For a segment: pose latents,
motion vectors of the faces, and the 20 condition channels that say what is given.

    condition channel    reference latent   video latents
    0..3   mask          1                  animate 0, replace 1 - mask; carried frames 1
    4..19  latents       VAE(reference)     VAE(carried frames, then grey or background)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.frames import FrameSource
from wan_trt.engine.letterbox import Letterbox
from wan_trt.engine.pixels import latent_keep, mask_channels, to_planes
from wan_trt.engine.request import AnimateRequest, Mode
from wan_trt.engine.segments import Segment, read_frames
from wan_trt.engine.space import Tensor
from wan_trt.engine.stages.conditioning import MASK_CHANNELS, Tensors
from wan_trt.engine.stages.encoders import FRAMES_AT_ONCE, Encoders, grey_reader
from wan_trt.engine.stages.vae import Check, ReadChunk


class AnimateConditioning:
    """The condition of one Animate job, all float32, in the job's `tensors`.

    `text_rows` and `negative_rows` [text_tokens, text_dim], `image_features`
    [image_tokens, image_dim]; of a segment `condition` [20, latents + 1, h, w], `pose_latents`
    [16, latents, h, w], `motion` [frames, motion_dim], as `black_motion`.
    """

    def __init__(
        self, request: AnimateRequest, encoders: Encoders, tensors: Tensors, check: Check
    ) -> None:
        """Encode what all segments share: prompts and reference."""
        self._request = request
        self._encoders = encoders
        self._space = encoders.space
        self.text_rows, self.image_features = tensors["text_rows"], tensors["image_features"]
        self.condition, self.pose_latents = tensors["condition"], tensors["pose_latents"]
        self.motion = tensors["motion"]
        positive, negative = encoders.text_rows(request, check)
        self._space.write(self.text_rows, positive)
        if negative is not None:
            self._space.write(tensors["negative_rows"], negative)
            black = np.tile(encoders.black_motion(), (self.motion.shape[0], 1))
            self._space.write(tensors["black_motion"], black)
        height, width, _ = request.reference.shape
        letterbox = Letterbox(height, width, request.height, request.width)
        picture = to_planes(letterbox.apply(request.reference)[None])
        encoders.image_features(picture[:, 0], self.image_features)
        given = self.condition[:MASK_CHANNELS, :1]
        self._space.write(given, np.ones(given.shape, np.float32))
        reference = self.condition[MASK_CHANNELS:, :1]
        encoders.vae.encode(1, lambda start, stop: picture[:, start:stop], reference, check)

    def encode(self, segment: Segment, carried: NDArray[np.float32], check: Check) -> None:
        """`carried` frames are rounded to bfloat16."""
        self._space.write(self.condition[:MASK_CHANNELS, 1:], self._mask(segment))
        self._encode_given(segment, carried, self.condition[MASK_CHANNELS:, 1:], check)
        pose = _reader(self._request.pose, segment)
        self._encoders.vae.encode(segment.frames, pose, self.pose_latents, check)
        self._encoders.motion(self._request.face, segment, self.motion, check)

    def _mask(self, segment: Segment) -> NDArray[np.float32]:
        """The mask channels of the video latents, [4, latents, h, w]."""
        request, geometry = self._request, self._encoders.geometry
        keep = np.zeros((segment.frames, *self.pose_latents.shape[2:]), np.float32)
        if request.mode is Mode.REPLACE and request.mask is not None:
            for start in range(segment.carried, segment.frames, FRAMES_AT_ONCE):
                stop = min(start + FRAMES_AT_ONCE, segment.frames)
                keep[start:stop] = latent_keep(
                    read_frames(request.mask, segment, start, stop), geometry.space_stride
                )
        keep[: segment.carried] = 1
        return mask_channels(keep, geometry.time_stride)

    def _encode_given(
        self,
        segment: Segment,
        carried: NDArray[np.float32],
        out: Tensor,
        check: Check,
    ) -> None:
        """Latents of the frames that are given: carried ones, then background or mid-grey."""
        request = self._request
        if request.mode is Mode.REPLACE and request.background is not None:
            rest = _reader(request.background, segment)
        elif segment.carried:
            rest = grey_reader(request.height, request.width)
        else:
            grey = self._encoders.grey_latents(segment.frames, out.shape, check)
            self._space.write(out, grey)
            return

        def read(start: int, stop: int) -> NDArray[np.float32]:
            # 1 or 5 carried frames are one or two whole chunks.
            return carried[:, start:stop] if stop <= segment.carried else rest(start, stop)

        self._encoders.vae.encode(segment.frames, read, out, check)


def _reader(source: FrameSource, segment: Segment) -> ReadChunk:
    def read(start: int, stop: int) -> NDArray[np.float32]:
        return to_planes(read_frames(source, segment, start, stop))

    return read
