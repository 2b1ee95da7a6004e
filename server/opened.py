"""A submission with its uploaded files opened: the engine's Request, and what must be closed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from wan_trt.engine.frames import FrameSink
from wan_trt.engine.request import Request
from wan_trt.media import RequestFiles, open_pixel_writer, open_sink
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

    def path(upload_id: str | None, field: str) -> Path | None:
        return uploads.path(upload_id, field) if upload_id else None

    pose_path = uploads.path(submission.pose, "pose")
    files = RequestFiles(
        reference=uploads.path(submission.reference, "reference"),
        pose=pose_path,
        face=uploads.path(submission.face, "face"),
        background=path(submission.background, "background"),
        mask=path(submission.mask, "mask"),
        noise=path(submission.noise, "noise"),
    )
    with ExitStack() as resources:
        request = replace(
            files.open(resources),
            mode=submission.mode,
            prompt=submission.prompt,
            negative_prompt=submission.negative_prompt,
            sampling=submission.sampling,
            seed=submission.seed,
            segment_frames=submission.segment_frames,
            overlap=submission.overlap,
        )
        return OpenedSubmission(request, pose_path, submission.output_format, resources.pop_all())
