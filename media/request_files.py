"""The media files of a request, opened together; with what else was chosen they make a Request."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.choices import RequestChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import AnimateRequest, ImageToVideoRequest, NoiseSource, Request
from wan_trt.media.reader import LocalMedia, MediaReader


@dataclass(frozen=True)
class RequestFiles:
    """What each medium of a request is read from; see `open_frames` for what a path may be.

    Frames that are made while they are read may stand in a video's place; whoever gave them closes
    them.
    """

    reference: Path | str
    pose: Path | str | FrameSource | None = None
    face: Path | str | FrameSource | None = None
    background: Path | str | FrameSource | None = None
    mask: Path | str | FrameSource | None = None
    last_frame: Path | str | None = None
    noise: Path | str | None = None


# What a model has no use for.
_FOREIGN: Mapping[ModelName, tuple[str, ...]] = {
    ModelName.ANIMATE: ("last_frame", "frames", "area"),
    ModelName.IMAGE_TO_VIDEO: (
        "pose",
        "face",
        "background",
        "mask",
        "mode",
        "segment_frames",
        "overlap",
    ),
}


def open_request(
    model: ModelName,
    files: RequestFiles,
    choices: RequestChoices,
    resources: ExitStack,
    media: MediaReader | None = None,
) -> Request:
    """The request that a bundle of `model` understands by this.

    `media` opens the files (None: this process) and is closed with `resources`. Raises MediaError
    or InputError naming the field: for unusable files, for what the model needs, for what it has no
    use for, for a seed beside noise.
    """
    for field in _FOREIGN[model]:
        if getattr(files, field, None) is not None or getattr(choices, field, None) is not None:
            raise InputError(
                f"given, but the bundle holds {model}",
                expected="no such option for this model",
                action="leave it out, or use another bundle",
                field=field,
            )
    if files.noise is not None and choices.seed is not None:
        raise InputError(
            f"{choices.seed}, given together with noise",
            expected="one of the two: a seed is what noise is drawn from",
            action="leave one of them out",
            field="seed",
        )
    media = LocalMedia() if media is None else media
    resources.callback(media.close)
    opening = _Opening(model, media)
    match model:
        case ModelName.ANIMATE:
            return _animate(files, choices, opening)
        case ModelName.IMAGE_TO_VIDEO:
            return _image_to_video(files, choices, opening)


def _animate(files: RequestFiles, choices: RequestChoices, opening: _Opening) -> AnimateRequest:
    request = AnimateRequest(
        reference=opening.image(files.reference, "reference"),
        pose=opening.frames(files.pose, "pose"),
        face=opening.frames(files.face, "face"),
        background=opening.optional_frames(files.background, "background"),
        mask=opening.optional_frames(files.mask, "mask"),
        prompt=choices.prompt,
        negative_prompt=choices.negative_prompt,
        noise=opening.noise(files.noise),
    )
    return replace(
        request,
        sampling=choices.sampling.over(request.sampling),
        seed=request.seed if choices.seed is None else choices.seed,
        mode=request.mode if choices.mode is None else choices.mode,
        segment_frames=(
            request.segment_frames if choices.segment_frames is None else choices.segment_frames
        ),
        overlap=request.overlap if choices.overlap is None else choices.overlap,
    )


def _image_to_video(
    files: RequestFiles, choices: RequestChoices, opening: _Opening
) -> ImageToVideoRequest:
    last = files.last_frame
    request = ImageToVideoRequest(
        reference=opening.image(files.reference, "reference"),
        last_frame=None if last is None else opening.image(last, "last_frame"),
        prompt=choices.prompt,
        negative_prompt=choices.negative_prompt,
        noise=opening.noise(files.noise),
    )
    return replace(
        request,
        sampling=choices.sampling.over(request.sampling),
        seed=request.seed if choices.seed is None else choices.seed,
        frames=request.frames if choices.frames is None else choices.frames,
        area=request.area if choices.area is None else choices.area,
    )


class _Opening:
    """Opens what a model needs, and says what is missing."""

    def __init__(self, model: ModelName, media: MediaReader) -> None:
        self._model = model
        self._media = media

    def image(self, path: Path | str, field: str) -> NDArray[np.uint8]:
        return self._media.image(path, field)

    def frames(self, path: Path | str | FrameSource | None, field: str) -> FrameSource:
        if path is None:
            raise InputError(
                "missing",
                expected=f"a video: the bundle holds {self._model}, which needs one",
                action="give one (`wan-trt preprocess` makes it), or use another bundle",
                field=field,
            )
        if not isinstance(path, (Path, str)):
            return path
        return self._media.frames(path, field)

    def optional_frames(
        self, path: Path | str | FrameSource | None, field: str
    ) -> FrameSource | None:
        return None if path is None else self.frames(path, field)

    def noise(self, path: Path | str | None) -> NoiseSource | None:
        return None if path is None else self._media.noise(path, "noise")
