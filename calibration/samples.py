"""The folder of sample inputs: one folder a sample, whose files have the names of the options of
`generate`.

    samples/dancer/reference.png
                   pose.mp4   face.mp4                 Animate
                   background.mp4   mask.mp4           its replace mode
                   last_frame.png                      image-to-video, optional
                   noise.safetensors                   optional, instead of a seed
                   prompt.txt   negative_prompt.txt    optional
                   request.toml                        optional: see sample_settings.py

A medium may have any ending that `generate` reads. src_ref, src_pose, src_face, src_bg and
src_mask, as `preprocess` writes them, are the same media; with a background the mode is replace.
Files of other names are errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan_trt.calibration.sample_settings import choices, read_settings
from wan_trt.engine.bundle import sha256_file
from wan_trt.engine.errors import InputError, MediaError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import AnimateRequest, ExpertName, Mode, Request
from wan_trt.media.request_files import RequestFiles, open_request

_MEDIA = ("reference", "pose", "face", "background", "mask", "last_frame", "noise")
_PREPROCESSED = {
    "src_ref": "reference",
    "src_pose": "pose",
    "src_face": "face",
    "src_bg": "background",
    "src_mask": "mask",
}
_PROMPTS = ("prompt.txt", "negative_prompt.txt")
_SETTINGS = "request.toml"
_FIELD = "inputs"


@dataclass(frozen=True)
class Sample:
    """One folder: its media by field, texts by file name, and settings."""

    name: str
    files: tuple[Path, ...]
    media: Mapping[str, Path]
    texts: Mapping[str, str]
    settings: Mapping[str, Any]

    @staticmethod
    def read(folder: Path) -> Sample:
        """Raises InputError naming files that are unknown, double, or no files."""
        files = tuple(sorted(folder.iterdir()))
        media: dict[str, Path] = {}
        texts: dict[str, str] = {}
        settings: Mapping[str, Any] = {}
        for file in files:
            medium = _PREPROCESSED.get(file.stem, file.stem)
            if file.name == _SETTINGS:
                settings = read_settings(file)
            elif file.name in _PROMPTS:
                texts[file.name] = _text(file)
            elif medium not in _MEDIA or not file.is_file():
                names = ", ".join((*_MEDIA, *_PREPROCESSED, *_PROMPTS, _SETTINGS))
                raise _error(f"{file}: unknown in a sample", f"files named {names}")
            elif medium in media:
                raise _error(f"{folder} has two files {medium}", "one")
            else:
                media[medium] = file
        if "reference" not in media:
            raise _error(f"{folder} has no reference", "a picture reference.png")
        if "background" in media:
            settings = {"mode": Mode.REPLACE, **settings}
        return Sample(folder.name, files, media, texts, settings)

    def open(
        self, model: ModelName, resources: ExitStack, changes: Mapping[str, Any] | None = None
    ) -> Request:
        """The request of this sample; `changes` go before its settings and have their keys. Its
        files are closed with `resources`. Raises InputError naming the sample."""
        settings = {**self.settings, **(changes or {})}
        chosen = choices(settings, *(self.texts.get(name) for name in _PROMPTS))
        files = RequestFiles(**{"reference": self.media["reference"], **self.media})
        try:
            return open_request(model, files, chosen, resources)
        except InputError as error:
            raise self.error(error) from None

    def error(self, error: InputError) -> InputError:
        """`error` with the sample's name."""
        kind = MediaError if isinstance(error, MediaError) else InputError
        return kind(
            f"sample {self.name}: {error.field or 'request'}: {error.given}",
            expected=error.expected,
            action=error.action,
            field=_FIELD,
        )

    @property
    def hashes(self) -> dict[str, str]:
        """sha256 of each file by SAMPLE/FILE."""
        return {f"{self.name}/{file.name}": sha256_file(file) for file in self.files}


def read_samples(folder: Path) -> tuple[Sample, ...]:
    """All samples, by name. Raises InputError."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _error(f"{folder} cannot be read ({error.strerror})", "a folder of samples") from None
    if not entries:
        raise _error(f"{folder} is empty", "a folder for each sample")
    for entry in entries:
        if not entry.is_dir():
            raise _error(f"{entry}: no folder", "a folder for each sample")
    return tuple(Sample.read(entry) for entry in entries)


def describe_request(request: Request) -> dict[str, Any]:
    """What of a request decides how the denoiser runs; JSON-ready."""
    sampling = request.sampling
    described: dict[str, Any] = {
        "steps": sampling.steps,
        "solver": sampling.solver.value,
        "shift": sampling.shift,
        "guidance": [request.guidance(expert) for expert in ExpertName],
        "seed": request.seed if request.noise is None else None,
        "width": request.width,
        "height": request.height,
        "frames": request.frame_count,
        "segment_frames": request.segment_frames,
    }
    if isinstance(request, AnimateRequest):
        described |= {"mode": request.mode.value, "overlap": request.overlap}
    return described


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _error(f"{file} cannot be read ({error})", "text in UTF-8") from None


def _error(given: str, expected: str) -> InputError:
    return InputError(given, expected=expected, action="correct the folder", field=_FIELD)
