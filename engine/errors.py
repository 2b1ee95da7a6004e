"""The one tree of typed errors.

    WanTrtError
    |-- InputError          what was asked cannot be done as asked         exit 2
    |   |-- MediaError      a picture, video or tensor file is unusable
    |   |   `-- MediaLimitError  it is larger than allowed, or takes more to read
    |   |-- BundleError     a bundle is damaged, foreign or too new
    |   |-- CheckpointError a checkpoint is incomplete or foreign
    |   `-- LoraError       an adapter does not fit the model
    |-- NotFoundError       no such job                                    exit 2
    |-- ResourceError       this machine cannot do it now, another may     exit 3
    |   |-- StorageFullError  the disk is full: a job waits until it is not
    |   `-- DeadlineError     the time given to a job was over before the job was
    |-- CancelledError      the job was cancelled or interrupted           exit 4
    |-- GateError           a bundle is not as good as its reference       exit 5
    `-- ExecutionError      the engine failed while running a valid job    exit 1

Every error says what was given, what is expected and what to do about it, in one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class WanTrtError(Exception):
    """Root of the tree.

    `given` is what was met, `expected` what would have been right, `action` what to do.
    `field` names the request field or setting at fault, where there is one; the command line
    shows the option of that name.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, given: str, *, expected: str = "", action: str = "", field: str | None = None
    ) -> None:
        self.given = given
        self.expected = expected
        self.action = action
        self.field = field
        super().__init__(self.message(field))

    def message(self, field: str | None) -> str:
        """The error in one line, its field spelled as whoever reads it knows it."""
        parts = [self.given]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.action:
            parts.append(self.action)
        text = "; ".join(parts)
        return f"{field}: {text}" if field else text


def without_frames(error: WanTrtError) -> WanTrtError:
    """A copy to keep. The traceback of the original, and those of its causes, hold the locals of
    every frame that it came through: whole jobs."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    return copy


class InputError(WanTrtError):
    """The request, option or file is wrong; asking again unchanged cannot succeed."""

    exit_code = 2


class MediaError(InputError):
    """A picture, video or frame tensor is missing, unreadable or of the wrong kind."""


class MediaLimitError(MediaError):
    """A media file holds more, or takes more time or memory to read, than is allowed."""


class BundleError(InputError):
    """A bundle is missing, truncated, of a newer schema, or not a bundle."""


class CheckpointError(InputError):
    """A checkpoint is missing tensors, has unknown ones, or is of another model."""


class LoraError(InputError):
    """An adapter file is damaged or does not fit the model.

    `kind` is one word for the defect (the kinds are listed in export/lora/faults.py) and stands
    first in the message; `keys` are the tensors at fault.
    """

    def __init__(
        self,
        given: str,
        *,
        kind: str = "",
        keys: Sequence[str] = (),
        expected: str = "",
        action: str = "",
        field: str | None = None,
    ) -> None:
        self.kind = kind
        self.keys = tuple(keys)
        super().__init__(
            f"{kind}: {given}" if kind else given, expected=expected, action=action, field=field
        )


class NotFoundError(WanTrtError):
    """No job is known under the given id."""

    exit_code = 2


class ResourceError(WanTrtError):
    """Memory, disk, a port or a queue place is not to be had here and now."""

    exit_code = 3


class StorageFullError(ResourceError):
    """There is no room on the disk for what a job has to keep. `retry_after_s`: when to look
    again."""

    def __init__(
        self,
        given: str,
        *,
        retry_after_s: float = 10.0,
        expected: str = "",
        action: str = "",
        field: str | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(given, expected=expected, action=action, field=field)


class AdmissionError(ResourceError):
    """A job is not let in, because it could not be done in time. `possible_in_s`: how long it would
    take from now on."""

    def __init__(
        self,
        given: str,
        *,
        possible_in_s: float = 0.0,
        expected: str = "",
        action: str = "",
        field: str | None = None,
    ) -> None:
        self.possible_in_s = possible_in_s
        super().__init__(given, expected=expected, action=action, field=field)


class DeadlineError(ResourceError):
    """A job was given a time to be done by, and is not."""


class CancelledError(WanTrtError):
    """The job was cancelled by its owner or interrupted by the operator."""

    exit_code = 4


class GateError(WanTrtError):
    """A bundle's results are further from the reference's than the thresholds allow."""

    exit_code = 5


class ExecutionError(WanTrtError):
    """A valid job failed inside the engine, for example because latents became NaN."""
