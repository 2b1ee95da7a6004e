"""The encoders of a bundle. Nothing of a job stays here, only what is the same for all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.executors import Executors
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.geometry import FaceGeometry
from wan_trt.engine.memory.layout import Layout, TensorShape
from wan_trt.engine.pixels import resize_square, to_planes
from wan_trt.engine.request import Request, is_guided
from wan_trt.engine.segments import TIME_STRIDE, Segment, read_frames
from wan_trt.engine.space import Tensor
from wan_trt.engine.stages.borrow import MOMENT, borrowed_bindings
from wan_trt.engine.stages.text import TextEncoder
from wan_trt.engine.stages.vae import Check, ReadChunk, Vae

FRAMES_AT_ONCE = 8


class Encoders:
    """Prompts, pictures, clips and faces -> what the context graphs read."""

    def __init__(self, bundle: Bundle, executors: Executors, vae: Vae) -> None:
        self.geometry = bundle.manifest.geometry
        self.vae = vae
        self.space = vae.space
        self._memory = vae.backend.memory
        self._text = TextEncoder(bundle, executors, vae.backend)
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

    def image_features(self, picture: NDArray[np.float32], out: Tensor) -> None:
        """Features of a picture [3, height, width] into `out`, float32 [image_tokens, image_dim].
        The encoder is needed once a job, and closed."""
        _, height, width = picture.shape
        sizes, given = {"height": height, "width": width}, {"image_features": out}
        try:
            encoder = self._executors.get("image_encoder")
            with borrowed_bindings(
                self._memory, encoder, sizes, "image encoder", given
            ) as bindings:
                self.space.write(bindings.inputs["image"], picture)
                encoder.launch(bindings, self.space.stream)
        finally:
            self._executors.release("image_encoder")

    def motion(self, faces: FrameSource, segment: Segment, out: Tensor, check: Check) -> None:
        """Motion vectors of a segment's faces into `out`, float32 [frames, motion_dim]."""
        encoder = self._executors.get("motion_encoder")
        most = min(FRAMES_AT_ONCE, segment.frames)
        with borrowed_bindings(self._memory, encoder, {"batch": most}, "motion encoder") as whole:
            bindings = whole
            for start in range(0, segment.frames, most):
                check()
                stop = min(start + most, segment.frames)
                if (rest := stop - start) < most:
                    parts = {"faces": whole.inputs["faces"], "motion": whole.outputs["motion"]}
                    bindings = encoder.bind(
                        {"batch": rest}, {name: part[:rest] for name, part in parts.items()}
                    )
                crops = resize_square(read_frames(faces, segment, start, stop), self.face.size)
                planes = to_planes(crops).transpose(1, 0, 2, 3)
                self.space.write(bindings.inputs["faces"], planes)
                encoder.launch(bindings, self.space.stream)
                self.space.copy(out[start:stop], bindings.outputs["motion"])

    def black_motion(self) -> NDArray[np.float32]:
        """Motion vector of a black face, float32 [motion_dim]: the unconditional branch's. It is
        the same for all jobs, and kept as values."""
        if self._black_motion is None:
            size = self.face.size
            encoder = self._executors.get("motion_encoder")
            with borrowed_bindings(
                self._memory, encoder, {"batch": 1}, "motion encoder"
            ) as bindings:
                black = np.full((1, 3, size, size), -1, np.float32)
                self.space.write(bindings.inputs["faces"], black)
                encoder.launch(bindings, self.space.stream)
                self._black_motion = self.space.read(bindings.outputs["motion"])[0]
        return self._black_motion

    def grey_latents(
        self, frames: int, shape: tuple[int, ...], check: Check
    ) -> NDArray[np.float32]:
        """Latents of a mid-grey clip: they depend on its size alone and are kept for the last, as
        values."""
        if self._grey is None or self._grey[0] != shape:
            stride = self.geometry.space_stride
            grey = grey_reader(shape[2] * stride, shape[3] * stride)
            layout = Layout({"latents": TensorShape(shape)})
            with self._memory.hold(MOMENT, "grey clip", layout) as holding:
                latents = holding.tensors["latents"]
                self.vae.encode(frames, grey, latents, check)
                self._grey = shape, self.space.read(latents)
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
