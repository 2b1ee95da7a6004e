"""Media -> what the denoiser's context graphs read.

For a job: text rows, image features and the latent of the reference. For a segment: pose latents,
motion vectors of the faces, and the 20 condition channels that say what is given.

    condition channel    reference latent   video latents
    0..3   mask          1                  animate 0, replace 1 - mask; carried frames 1
    4..19  latents       VAE(reference)     VAE(carried frames, then grey or background)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.executor import run
from wan_trt.engine.executors import Executors
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.pixels import (
    latent_keep,
    letterbox,
    mask_channels,
    resize_square,
    to_planes,
)
from wan_trt.engine.request import Mode, Request
from wan_trt.engine.segments import TIME_STRIDE, Segment, read_frames
from wan_trt.engine.stages.text import TextEncoder
from wan_trt.engine.stages.vae import Check, ReadChunk, Vae

MASK_CHANNELS = 4
FRAMES_AT_ONCE = 8


@dataclass(frozen=True)
class JobCondition:
    """What a job's segments have in common, all float32.

    `text_rows`, `negative_rows` [text_tokens, text_dim] (negative only with guidance > 1),
    `image_features` [image_tokens, image_dim], `reference` [16, 1, h, w].
    """

    text_rows: NDArray[np.float32]
    negative_rows: NDArray[np.float32] | None
    image_features: NDArray[np.float32]
    reference: NDArray[np.float32]


@dataclass(frozen=True)
class SegmentCondition:
    """What a segment is made from, all float32; overwritten in place by the next segment.

    `condition` [20, latents + 1, h, w], `pose_latents` [16, latents, h, w],
    `motion` [frames, motion_dim].
    """

    condition: NDArray[np.float32]
    pose_latents: NDArray[np.float32]
    motion: NDArray[np.float32]


class Conditioner:
    """Runs the encoders. Holds nothing of a job, only what is the same for all."""

    def __init__(
        self, geometry: Geometry, executors: Executors, text: TextEncoder, vae: Vae
    ) -> None:
        self._geometry = geometry
        self._executors = executors
        self._text = text
        self._vae = vae
        self._black_motion: NDArray[np.float32] | None = None
        self._grey: tuple[tuple[int, ...], NDArray[np.float32]] | None = None

    def job(self, request: Request, check: Check) -> JobCondition:
        """Encode what the whole job shares: prompts and reference."""
        guided = max(request.sampling.guidance) > 1
        text_rows = self._text.rows(request.prompt, "positive")
        check()
        negative_rows = self._text.rows(request.negative_prompt, "negative") if guided else None
        check()
        height, width = request.pose.height, request.pose.width
        picture = to_planes(letterbox(request.reference, height, width)[None])
        try:
            features = run(
                self._executors.get("image_encoder"),
                {"height": height, "width": width},
                image=picture[:, 0],
            )["image_features"]
        finally:
            self._executors.release("image_encoder")
        reference = np.empty(self._latent_shape(1, height, width), np.float32)
        self._vae.encode(1, lambda start, stop: picture[:, start:stop], reference, check)
        return JobCondition(text_rows, negative_rows, features, reference)

    def allocate(self, request: Request) -> SegmentCondition:
        """Room for a segment of the job."""
        frames = request.segment_frames
        latents = (frames - 1) // self._geometry.time_stride + 1
        shape = self._latent_shape(latents, request.pose.height, request.pose.width)
        grid = (latents + 1, *shape[2:])
        return SegmentCondition(
            np.zeros((MASK_CHANNELS + shape[0], *grid), np.float32),
            np.zeros(shape, np.float32),
            np.zeros((frames, self._geometry.motion_dim), np.float32),
        )

    def segment(
        self,
        request: Request,
        job: JobCondition,
        segment: Segment,
        carried: NDArray[np.float32],
        out: SegmentCondition,
        check: Check,
    ) -> None:
        """Encode one segment into `out`.

        `carried` holds the given frames of a later segment, float32 [3, overlap, height, width],
        rounded to bfloat16.
        """
        out.condition[:MASK_CHANNELS, 0] = 1
        out.condition[MASK_CHANNELS:, :1] = job.reference
        out.condition[:MASK_CHANNELS, 1:] = self._mask(request, segment)
        self._encode_given(request, segment, carried, out.condition[MASK_CHANNELS:, 1:], check)
        pose = _reader(request.pose, segment)
        self._vae.encode(segment.frames, pose, out.pose_latents, check)
        self._encode_faces(request.face, segment, out.motion, check)

    def black_motion(self) -> NDArray[np.float32]:
        """Motion vector of a black face, float32 [motion_dim]: the unconditional branch's."""
        if self._black_motion is None:
            size = self._geometry.face_size
            black = np.full((1, 3, size, size), -1, np.float32)
            encoder = self._executors.get("motion_encoder")
            self._black_motion = run(encoder, {"batch": 1}, faces=black)["motion"][0]
        return self._black_motion

    def _latent_shape(self, latents: int, height: int, width: int) -> tuple[int, ...]:
        stride = self._geometry.space_stride
        return (self._geometry.latent_channels, latents, height // stride, width // stride)

    def _mask(self, request: Request, segment: Segment) -> NDArray[np.float32]:
        """The mask channels of the video latents, [4, latents, h, w]."""
        stride = self._geometry.space_stride
        keep = np.zeros(
            (segment.frames, request.pose.height // stride, request.pose.width // stride),
            np.float32,
        )
        if request.mode is Mode.REPLACE and request.mask is not None:
            for start in range(segment.carried, segment.frames, FRAMES_AT_ONCE):
                stop = min(start + FRAMES_AT_ONCE, segment.frames)
                keep[start:stop] = latent_keep(
                    read_frames(request.mask, segment, start, stop), stride
                )
        keep[: segment.carried] = 1
        return mask_channels(keep, self._geometry.time_stride)

    def _encode_given(
        self,
        request: Request,
        segment: Segment,
        carried: NDArray[np.float32],
        out: NDArray[np.float32],
        check: Check,
    ) -> None:
        """Latents of the frames that are given: carried ones, then background or mid-grey."""
        if request.mode is Mode.REPLACE and request.background is not None:
            rest = _reader(request.background, segment)
        elif segment.carried:
            rest = _grey_reader(request.pose.height, request.pose.width)
        else:
            out[...] = self._grey_latents(segment.frames, out.shape, check)
            return

        def read(start: int, stop: int) -> NDArray[np.float32]:
            # 1 or 5 carried frames are one or two whole chunks.
            return carried[:, start:stop] if stop <= segment.carried else rest(start, stop)

        self._vae.encode(segment.frames, read, out, check)

    def _grey_latents(
        self, frames: int, shape: tuple[int, ...], check: Check
    ) -> NDArray[np.float32]:
        """Latents of a mid-grey clip: they depend on its size alone and are kept for the last."""
        if self._grey is None or self._grey[0] != shape:
            latents = np.empty(shape, np.float32)
            stride = self._geometry.space_stride
            grey = _grey_reader(shape[2] * stride, shape[3] * stride)
            self._vae.encode(frames, grey, latents, check)
            self._grey = shape, latents
        return self._grey[1]

    def _encode_faces(
        self, faces: FrameSource, segment: Segment, out: NDArray[np.float32], check: Check
    ) -> None:
        encoder = self._executors.get("motion_encoder")
        bindings = encoder.bind({"batch": FRAMES_AT_ONCE})
        for start in range(0, segment.frames, FRAMES_AT_ONCE):
            check()
            stop = min(start + FRAMES_AT_ONCE, segment.frames)
            if stop - start < FRAMES_AT_ONCE:
                bindings = encoder.bind({"batch": stop - start})
            crops = resize_square(
                read_frames(faces, segment, start, stop), self._geometry.face_size
            )
            np.copyto(bindings.inputs["faces"], to_planes(crops).transpose(1, 0, 2, 3))
            encoder.launch(bindings)
            out[start:stop] = bindings.outputs["motion"]


def _reader(source: FrameSource, segment: Segment) -> ReadChunk:
    def read(start: int, stop: int) -> NDArray[np.float32]:
        return to_planes(read_frames(source, segment, start, stop))

    return read


def _grey_reader(height: int, width: int) -> ReadChunk:
    """Frames of value 0, half way between black and white."""
    grey = np.zeros((3, TIME_STRIDE, height, width), np.float32)
    return lambda start, stop: grey[:, : stop - start]
