"""What a client asks for and what it is told about a job: plain values, as both sides see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from wan_trt.engine.choices import RequestChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Event, JobState
from wan_trt.preprocess.driver import DriverChoices

DRIVER_FIELDS = (
    "video",
    "keypoints",
    "matte",
    "reference_keypoints",
    "edited_driver",
    "edited_character",
)
"""Media of a driving video that the server prepares."""
MEDIA_FIELDS = (
    *("reference", "pose", "face", "background", "mask", "last_frame", "noise"),
    *DRIVER_FIELDS,
)


class OutputFormat(StrEnum):
    """How a result is written; see the proto."""

    MP4 = "mp4"
    FLOAT32 = "float32"
    UINT8 = "uint8"
    PNG = "png"
    RAW = "raw"

    @property
    def suffix(self) -> str:
        return _SUFFIXES[self]

    @property
    def result_name(self) -> str:
        """What the server calls the file."""
        return f"result{self.suffix}"

    @staticmethod
    def for_path(path: Path, field: str) -> OutputFormat:
        """The format that a file name asks for. Raises InputError; `field` names the option."""
        suffix = path.suffix.lower()
        for kind, of_kind in _SUFFIXES.items():
            if suffix == of_kind:
                return kind
        *most, last = dict.fromkeys(_SUFFIXES.values())
        raise InputError(
            f"{path}: an output of type {suffix or 'none'}",
            expected=f"{', '.join(most)} or {last} from a server",
            action="choose one of them",
            field=field,
        )


# The first of two formats with one suffix is what a name asks for.
_SUFFIXES = {
    OutputFormat.MP4: ".mp4",
    OutputFormat.FLOAT32: ".safetensors",
    OutputFormat.UINT8: ".safetensors",
    OutputFormat.PNG: ".zip",
    OutputFormat.RAW: ".rgb",
}


@dataclass(frozen=True)
class Submission:
    """One video to make out of uploaded files. Media fields hold upload ids; which are needed and
    what the choices' defaults are depends on the server's model. `preparation` is how the driving
    `video` is prepared. A job that is not done `timeout_s` after it was submitted fails. `bundle`
    "" is the server's choice."""

    reference: str
    pose: str | None = None
    face: str | None = None
    background: str | None = None
    mask: str | None = None
    last_frame: str | None = None
    noise: str | None = None
    video: str | None = None
    keypoints: str | None = None
    matte: str | None = None
    reference_keypoints: str | None = None
    edited_driver: str | None = None
    edited_character: str | None = None
    choices: RequestChoices = field(default_factory=RequestChoices)
    preparation: DriverChoices = field(default_factory=DriverChoices)
    output_format: OutputFormat = OutputFormat.MP4
    idempotency_key: str = ""
    timeout_s: float | None = None
    bundle: str = ""
    priority: float = 1.0
    title: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def media(self) -> dict[str, str]:
        """Upload ids by the field that names them."""
        media = {name: getattr(self, name) for name in MEDIA_FIELDS}
        return {name: upload_id for name, upload_id in media.items() if upload_id}


@dataclass(frozen=True)
class VideoFormat:
    """The frames of a job: RGB, of numbers of `sample_nbytes` (1: uint8, 4: float32)."""

    width: int
    height: int
    frames: int
    rate: Fraction | None
    sample_nbytes: int

    @property
    def frame_nbytes(self) -> int:
        return self.width * self.height * 3 * self.sample_nbytes

    @property
    def nbytes(self) -> int:
        """Of all raw frames."""
        return self.frames * self.frame_nbytes


@dataclass(frozen=True)
class JobStatus:
    """How a job stands. `result_nbytes` is 0 until there is a result. Times are seconds since
    1970."""

    job_id: str
    state: JobState
    output_format: OutputFormat
    result_nbytes: int
    latest: Event
    title: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: float = 1.0
    bundle: str = ""
    submitted: float = 0.0
    finished: float | None = None
    video: VideoFormat | None = None
