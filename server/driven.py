"""A submission with a driving video, before that is prepared and after."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError, MediaLimitError
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import Mode
from wan_trt.engine.validation import validate_request
from wan_trt.media import MediaReader
from wan_trt.preprocess import Driver, DriverChoices, DriverFiles, MaskSource
from wan_trt.preprocess.networks.folder import NetworkFolder
from wan_trt.preprocess.progress import OnProgress
from wan_trt.server.opened import OpenedSubmission, open_submission
from wan_trt.server.submission import DRIVER_FIELDS, Submission

_BLACK, _WHITE = 0, 255
MAX_JSON_NBYTES = 128 << 20
"""Some 20,000 frames of 133 points."""


@dataclass(frozen=True)
class PlainFrames:
    """A FrameSource of one colour: it has the measures of what comes later."""

    count: int
    height: int
    width: int
    rate: Fraction | None
    value: int

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        shape = (stop - start, self.height, self.width, 3)
        return np.broadcast_to(np.uint8(self.value), shape)

    def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class _Expected:
    """DrivingFrames with the measures of those to come."""

    pose: FrameSource
    face: FrameSource
    background: FrameSource | None
    mask: FrameSource | None


class DrivenSubmission:
    """Opened and checked as far as that goes without a look at the frames."""

    def __init__(
        self,
        submission: Submission,
        inputs: Mapping[str, Path],
        manifest: Manifest,
        networks: NetworkFolder | None,
        media: MediaReader,
    ) -> None:
        """`networks` find people; None where the server has none. `media` opens the files. Raises
        InputError and MediaError."""
        if manifest.model is not ModelName.ANIMATE:
            raise InputError(
                f"given, but the bundle holds {manifest.model}",
                expected="no such field for this model",
                action="leave it out, or use another bundle",
                field="video",
            )
        self._submission, self._inputs, self._model = submission, inputs, manifest.model
        self._media = media
        _require_short(inputs)
        choices = with_mask_source(submission, networks)
        require_networks(submission, choices, networks)
        with ExitStack() as resources:
            files = DriverFiles(
                reference=inputs["reference"],
                **{name: inputs[name] for name in DRIVER_FIELDS if name in inputs},
            )
            options = choices.options(submission.choices)
            self._driver = Driver(files, choices, options, networks, resources, media)
            made = self._expected(options.mode)
            expected = open_submission(submission, inputs, manifest.model, media, made)
            resources.callback(expected.close)
            validate_request(expected.request, manifest)
            self.expected = expected
            self._resources = resources.pop_all()

    def prepare(self, on_progress: OnProgress) -> OpenedSubmission:
        """Look at all of the driving video. What this opens closes the video too."""
        prepared = self._driver.prepare(on_progress)
        opened = open_submission(self._submission, self._inputs, self._model, self._media, prepared)
        opened.resources.callback(self.close)
        return opened

    def close(self) -> None:
        """Close the files; may be called again."""
        self._resources.close()

    def _expected(self, mode: Mode) -> _Expected:
        driver, replaces = self._driver, mode is Mode.REPLACE
        size = (driver.frame_count, driver.height, driver.width, driver.rate)
        face_size = self._submission.preparation.face_size
        return _Expected(
            PlainFrames(*size, _BLACK),
            PlainFrames(driver.frame_count, face_size, face_size, driver.rate, _BLACK),
            PlainFrames(*size, _BLACK) if replaces else None,
            PlainFrames(*size, _WHITE) if replaces else None,
        )


def _require_short(inputs: Mapping[str, Path]) -> None:
    """Raises MediaLimitError for JSON that is too long: it is parsed here, all at once."""
    for field in ("keypoints", "reference_keypoints", "edited_driver", "edited_character"):
        path = inputs.get(field)
        if path is None or (field.startswith("edited") and path.suffix != ".json"):
            continue
        if (nbytes := path.stat().st_size) > MAX_JSON_NBYTES:
            raise MediaLimitError(
                f"{path}: {nbytes} bytes of key points",
                expected=f"at most {MAX_JSON_NBYTES}",
                action="send those of one person, or of fewer frames",
                field=field,
            )


def with_mask_source(submission: Submission, networks: NetworkFolder | None) -> DriverChoices:
    """What a mask is made from, where one is to be made and nobody chose: SAM2, if there is one."""
    choices = submission.preparation
    if (
        submission.choices.mode is not Mode.REPLACE
        or submission.matte is not None
        or choices.mask_from is not None
    ):
        return choices
    has_sam2 = networks is not None and networks.has_outlines
    return replace(choices, mask_from=MaskSource.SAM2 if has_sam2 else MaskSource.BOX)


def require_networks(
    submission: Submission, choices: DriverChoices, networks: NetworkFolder | None
) -> None:
    """Raises InputError for what this server cannot find by itself."""
    if networks is not None:
        return
    if submission.keypoints is None:
        raise InputError(
            "missing, and this server has no networks that find people",
            expected="the key points of the person in `video`",
            action="send them, or start the server with --models DIR",
            field="keypoints",
        )
    if choices.mask_from is MaskSource.SAM2:
        raise InputError(
            "SAM2, which this server does not have",
            expected="a matte, or a box",
            action="send one as `matte`, choose box, or start the server with --models DIR",
            field="mask_from",
        )
