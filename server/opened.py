"""A submission with its uploaded files opened: the engine's Request, and what must be closed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.frames import FrameSink, FrameSource
from wan_trt.engine.request import Request
from wan_trt.media import open_frames, open_noise, open_pixel_writer, open_sink, read_image
from wan_trt.media.sinks import PixelSink
from wan_trt.server.submission import OutputFormat, Submission
from wan_trt.server.uploads import Uploads


@dataclass(frozen=True)
class OpenedSubmission:
    """`pose_path` is where an MP4's sound comes from."""

    request: Request
    pose_path: Path
    output_format: OutputFormat
    resources: ExitStack

    def close(self) -> None:
        """Close the files; may be called again."""
        self.resources.close()

    def open_sink(self, path: Path) -> FrameSink:
        """Where the result goes. Raises MediaError or ResourceError."""
        pose = self.request.pose
        if self.output_format is OutputFormat.UINT8:
            return PixelSink(
                open_pixel_writer(
                    path, height=pose.height, width=pose.width, frame_count=pose.count
                )
            )
        return open_sink(
            path,
            height=pose.height,
            width=pose.width,
            frame_count=pose.count,
            rate=pose.rate,
            audio_from=self.pose_path,
        )


def open_submission(submission: Submission, uploads: Uploads) -> OpenedSubmission:
    """Raises MediaError for unusable files, NotFoundError for unknown upload ids."""
    with ExitStack() as resources:

        def frames(upload_id: str, field: str) -> FrameSource:
            source = open_frames(uploads.path(upload_id, field), field=field)
            resources.callback(source.close)
            return source

        def optional_frames(upload_id: str | None, field: str) -> FrameSource | None:
            return frames(upload_id, field) if upload_id else None

        noise = None
        if submission.noise is not None:
            noise = open_noise(uploads.path(submission.noise, "noise"), field="noise")
            resources.callback(noise.close)
        request = Request(
            reference=read_image(
                uploads.path(submission.reference, "reference"), field="reference"
            ),
            pose=frames(submission.pose, "pose"),
            face=frames(submission.face, "face"),
            background=optional_frames(submission.background, "background"),
            mask=optional_frames(submission.mask, "mask"),
            mode=submission.mode,
            prompt=submission.prompt,
            negative_prompt=submission.negative_prompt,
            sampling=submission.sampling,
            seed=submission.seed,
            noise=noise,
            segment_frames=submission.segment_frames,
            overlap=submission.overlap,
        )
        return OpenedSubmission(
            request,
            uploads.path(submission.pose, "pose"),
            submission.output_format,
            resources.pop_all(),
        )
