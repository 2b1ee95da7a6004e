"""What a client asks for and what it is told about a job: plain values, as both sides see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from wan_trt.engine.choices import RequestChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Event, JobState

MEDIA_FIELDS = ("reference", "pose", "face", "background", "mask", "last_frame", "noise")


class OutputFormat(StrEnum):
    """How a result is written; see the proto."""

    MP4 = "mp4"
    FLOAT32 = "float32"
    UINT8 = "uint8"

    @property
    def suffix(self) -> str:
        return ".mp4" if self is OutputFormat.MP4 else ".safetensors"

    @property
    def result_name(self) -> str:
        """What the server calls the file."""
        return f"result{self.suffix}"

    @staticmethod
    def for_path(path: Path, field: str) -> OutputFormat:
        """The format that a file name asks for. Raises InputError; `field` names the option."""
        match path.suffix.lower():
            case ".mp4":
                return OutputFormat.MP4
            case ".safetensors":
                return OutputFormat.FLOAT32
            case suffix:
                raise InputError(
                    f"{path}: an output of type {suffix or 'none'}",
                    expected=".mp4 or .safetensors from a server",
                    action="choose one of them",
                    field=field,
                )


@dataclass(frozen=True)
class Submission:
    """One video to make out of uploaded files. Media fields hold upload ids; which are needed and
    what the choices' defaults are depends on the server's model. A job that is not done
    `timeout_s` after it was submitted fails."""

    reference: str
    pose: str | None = None
    face: str | None = None
    background: str | None = None
    mask: str | None = None
    last_frame: str | None = None
    noise: str | None = None
    choices: RequestChoices = field(default_factory=RequestChoices)
    output_format: OutputFormat = OutputFormat.MP4
    idempotency_key: str = ""
    timeout_s: float | None = None


@dataclass(frozen=True)
class JobStatus:
    """How a job stands. `result_nbytes` is 0 until there is a result."""

    job_id: str
    state: JobState
    output_format: OutputFormat
    result_nbytes: int
    latest: Event
