"""The encoders of a bundle. Nothing of a job stays here, only what is the same for all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import run
from wan_trt.engine.executors import Executors
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.geometry import FaceGeometry
from wan_trt.engine.pixels import resize_square, to_planes
from wan_trt.engine.request import Request, is_guided
from wan_trt.engine.segments import TIME_STRIDE, Segment, read_frames
from wan_trt.engine.stages.text import TextEncoder
from wan_trt.engine.stages.vae import Check, ReadChunk, Vae

FRAMES_AT_ONCE = 8


class Encoders:
    """Prompts, pictures, clips and faces -> what the context graphs read."""

    def __init__(self, bundle: Bundle, executors: Executors, vae: Vae) -> None:
        self.geometry = bundle.manifest.geometry
        self.vae = vae
        self._text = TextEncoder(bundle, executors)
        self._executors = executors
        self._black_motion: NDArray[np.float32] | None = None
        self._grey: tuple[tuple[int, ...], NDArray[np.float32]] | None = None

    def text_rows(
        self, request: Request, check: Check
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Rows of the prompt and, where a step is guided, of the negative prompt; float32
        [text_tokens, text_dim]."""
        prompts = {"positive": request.prompt}
        if is_guided(request):
            prompts["negative"] = request.negative_prompt
        rows = self._text.rows(prompts, check)
        check()
        return rows["positive"], rows.get("negative")

    def image_features(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features [image_tokens, image_dim] of a picture [3, height, width]. The encoder is
        needed once a job, and closed."""
        _, height, width = picture.shape
        try:
            encoder = self._executors.get("image_encoder")
            features: NDArray[np.float32] = run(
                encoder, {"height": height, "width": width}, image=picture
            )["image_features"]
        finally:
            self._executors.release("image_encoder")
        return features

    def motion(
        self, faces: FrameSource, segment: Segment, out: NDArray[np.float32], check: Check
    ) -> None:
        """Motion vectors of a segment's faces into `out`, float32 [frames, motion_dim]."""
        encoder = self._executors.get("motion_encoder")
        bindings = encoder.bind({"batch": FRAMES_AT_ONCE})
        for start in range(0, segment.frames, FRAMES_AT_ONCE):
            check()
            stop = min(start + FRAMES_AT_ONCE, segment.frames)
            if stop - start < FRAMES_AT_ONCE:
                bindings = encoder.bind({"batch": stop - start})
            crops = resize_square(read_frames(faces, segment, start, stop), self.face.size)
            np.copyto(bindings.inputs["faces"], to_planes(crops).transpose(1, 0, 2, 3))
            encoder.launch(bindings)
            out[start:stop] = bindings.outputs["motion"]

    def black_motion(self) -> NDArray[np.float32]:
        """Motion vector of a black face, float32 [motion_dim]: the unconditional branch's."""
        if self._black_motion is None:
            size = self.face.size
            black = np.full((1, 3, size, size), -1, np.float32)
            encoder = self._executors.get("motion_encoder")
            self._black_motion = run(encoder, {"batch": 1}, faces=black)["motion"][0]
        return self._black_motion

    def grey_latents(
        self, frames: int, shape: tuple[int, ...], check: Check
    ) -> NDArray[np.float32]:
        """Latents of a mid-grey clip: they depend on its size alone and are kept for the last."""
        if self._grey is None or self._grey[0] != shape:
            latents = np.empty(shape, np.float32)
            stride = self.geometry.space_stride
            grey = grey_reader(shape[2] * stride, shape[3] * stride)
            self.vae.encode(frames, grey, latents, check)
            self._grey = shape, latents
        return self._grey[1]

    def latent_shape(self, frames: int, height: int, width: int) -> tuple[int, ...]:
        """[16, latents, h, w] of a clip."""
        stride = self.geometry.space_stride
        latents = (frames - 1) // self.geometry.time_stride + 1
        return self.geometry.latent_channels, latents, height // stride, width // stride

    @property
    def face(self) -> FaceGeometry:
        if self.geometry.face is None:
            raise BundleError(
                "the manifest gives no sizes for faces", action="export the bundle again"
            )
        return self.geometry.face


def grey_reader(height: int, width: int) -> ReadChunk:
    """Frames of value 0, half way between black and white."""
    grey = np.zeros((3, TIME_STRIDE, height, width), np.float32)
    return lambda start, stop: grey[:, : stop - start]
