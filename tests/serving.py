"""What the tests of the server share: the shape of their job, and its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wan_trt.server.server import Server
from wan_trt.server.submission import Submission

FRAMES = 7
SIZE = (32, 48)

MakeServer = Callable[..., Server]
MakeSubmission = Callable[..., Submission]


@dataclass(frozen=True)
class MediaFiles:
    """Files of a job of 7 frames of 48x32 pixels: two segments of 5 frames."""

    reference: Path
    pose: Path
    face: Path
