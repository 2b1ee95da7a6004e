"""The media files of a request, opened together."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.frames import FrameSource
from wan_trt.engine.request import Request
from wan_trt.media.noise import open_noise
from wan_trt.media.sources import open_frames, read_image


@dataclass(frozen=True)
class RequestFiles:
    """What each medium of a request is read from; see `open_frames` for what a path may be."""

    reference: Path | str
    pose: Path | str
    face: Path | str
    background: Path | str | None = None
    mask: Path | str | None = None
    noise: Path | str | None = None

    def open(self, resources: ExitStack) -> Request:
        """A Request with these media and all else at its default (see `dataclasses.replace`).

        The files are closed with `resources`. Raises MediaError or InputError naming the field.
        """

        def frames(path: Path | str, field: str) -> FrameSource:
            source = open_frames(path, field=field)
            resources.callback(source.close)
            return source

        noise = None
        if self.noise is not None:
            noise = open_noise(self.noise)
            resources.callback(noise.close)
        return Request(
            reference=read_image(self.reference, field="reference"),
            pose=frames(self.pose, "pose"),
            face=frames(self.face, "face"),
            background=None if self.background is None else frames(self.background, "background"),
            mask=None if self.mask is None else frames(self.mask, "mask"),
            noise=noise,
        )
