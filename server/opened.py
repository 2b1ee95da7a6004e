"""A submission with its uploaded files opened: the engine's Request, and what must be closed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from wan_trt.engine.frames import FrameSource
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import Request
from wan_trt.media import (
    MediaReader,
    RequestFiles,
    SoundFile,
    open_pixel_writer,
    open_request,
)
from wan_trt.media.image_archive import ImageArchiveWriter
from wan_trt.media.raw_writer import RawWriter
from wan_trt.media.tensor_writer import TensorWriter
from wan_trt.server.store.result_writer import ResultFile
from wan_trt.server.store.spool import SpoolFormat
from wan_trt.server.submission import OutputFormat, Submission, VideoFormat


class DrivingFrames(Protocol):
    """What is made of a driving video."""

    @property
    def pose(self) -> FrameSource: ...

    @property
    def face(self) -> FrameSource: ...

    @property
    def background(self) -> FrameSource | None: ...

    @property
    def mask(self) -> FrameSource | None: ...


@dataclass(frozen=True)
class OpenedSubmission:
    """`sound` is what an MP4's sound comes from, if anything."""

    request: Request
    media: MediaReader
    sound: SoundFile | None
    output_format: OutputFormat
    resources: ExitStack

    def close(self) -> None:
        """Close the files; may be called again."""
        self.resources.close()

    @property
    def video(self) -> VideoFormat:
        """What comes out of it."""
        request = self.request
        return VideoFormat(
            request.width,
            request.height,
            request.frame_count,
            request.rate,
            4 if self.output_format is OutputFormat.FLOAT32 else 1,
        )

    @property
    def spool_format(self) -> SpoolFormat:
        request = self.request
        float32 = self.output_format is OutputFormat.FLOAT32
        dtype = np.dtype(np.float32 if float32 else np.uint8)
        return SpoolFormat(request.height, request.width, dtype, request.segment_frames)

    def open_result(self, path: Path) -> ResultFile:
        """Where the result goes: numbers as the spool has them. Raises MediaError or
        ResourceError."""
        request = self.request
        height, width, count = request.height, request.width, request.frame_count
        match self.output_format:
            case OutputFormat.MP4:
                return open_pixel_writer(
                    path,
                    height=height,
                    width=width,
                    frame_count=count,
                    rate=request.rate,
                    audio_from=self.sound,
                )
            case OutputFormat.PNG:
                return ImageArchiveWriter(path, height=height, width=width, frame_count=count)
            case OutputFormat.RAW:
                return RawWriter(path, height=height, width=width, frame_count=count)
            case OutputFormat.FLOAT32 | OutputFormat.UINT8:
                return TensorWriter(
                    path,
                    height=height,
                    width=width,
                    frame_count=count,
                    dtype=self.spool_format.dtype.type,
                )


def open_submission(
    submission: Submission,
    inputs: Mapping[str, Path],
    model: ModelName,
    media: MediaReader,
    driving: DrivingFrames | None = None,
) -> OpenedSubmission:
    """`inputs` are the files by the field that names them; `media` opens them, and is closed with
    what is opened. `driving` stands for those that are made of a driving video, whoever gave it
    closes it. Raises MediaError for unusable files, InputError for what does not fit the model."""
    made: Mapping[str, FrameSource | Path | None] = inputs
    choices = submission.choices
    if driving is not None:
        made = {name: getattr(driving, name) for name in ("pose", "face", "background", "mask")}
        choices = replace(choices, frames=None, area=None)  # they were about the driving video
    files = RequestFiles(
        reference=inputs["reference"],
        pose=made.get("pose"),
        face=made.get("face"),
        background=made.get("background"),
        mask=made.get("mask"),
        last_frame=inputs.get("last_frame"),
        noise=inputs.get("noise"),
    )
    driver = "pose" if driving is None else "video"
    sound = SoundFile(inputs[driver], driver, media) if driver in inputs else None
    with ExitStack() as resources:
        request = open_request(model, files, choices, resources, media)
        return OpenedSubmission(
            request, media, sound, submission.output_format, resources.pop_all()
        )
