"""A submission with its uploaded files opened: the engine's Request, and what must be closed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.frames import FrameSink
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import Request
from wan_trt.media import RequestFiles, open_pixel_writer, open_request, open_sink
from wan_trt.media.sinks import PixelSink
from wan_trt.server.submission import OutputFormat, Submission
from wan_trt.server.uploads import Uploads


@dataclass(frozen=True)
class OpenedSubmission:
    """`sound` is the file that an MP4's sound comes from, if any."""

    request: Request
    sound: Path | None
    output_format: OutputFormat
    resources: ExitStack

    def close(self) -> None:
        """Close the files; may be called again."""
        self.resources.close()

    def open_sink(self, path: Path) -> FrameSink:
        """Where the result goes. Raises MediaError or ResourceError."""
        request = self.request
        height, width, count = request.height, request.width, request.frame_count
        if self.output_format is OutputFormat.UINT8:
            return PixelSink(open_pixel_writer(path, height=height, width=width, frame_count=count))
        return open_sink(
            path,
            height=height,
            width=width,
            frame_count=count,
            rate=request.rate,
            audio_from=self.sound,
        )


def open_submission(submission: Submission, uploads: Uploads, model: ModelName) -> OpenedSubmission:
    """Raises MediaError for unusable files, InputError for what does not fit the model,
    NotFoundError for unknown upload ids."""

    def path(upload_id: str | None, field: str) -> Path | None:
        return uploads.path(upload_id, field) if upload_id else None

    pose = path(submission.pose, "pose")
    files = RequestFiles(
        reference=uploads.path(submission.reference, "reference"),
        pose=pose,
        face=path(submission.face, "face"),
        background=path(submission.background, "background"),
        mask=path(submission.mask, "mask"),
        last_frame=path(submission.last_frame, "last_frame"),
        noise=path(submission.noise, "noise"),
    )
    with ExitStack() as resources:
        request = open_request(model, files, submission.choices, resources)
        return OpenedSubmission(request, pose, submission.output_format, resources.pop_all())
