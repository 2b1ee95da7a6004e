"""A driving video with all that says how to prepare it: opened first, prepared later."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from wan_trt.engine.choices import RequestChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode
from wan_trt.media import LocalMedia, MediaReader
from wan_trt.preprocess.figures import RetargetFigures, Seen
from wan_trt.preprocess.keypoint_files import read_keypoints
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.networks.folder import NetworkFolder
from wan_trt.preprocess.options import Options
from wan_trt.preprocess.person_choice import PersonChoice
from wan_trt.preprocess.person_tracker import PersonTracker
from wan_trt.preprocess.prepare import Prepared, check_inputs, prepare
from wan_trt.preprocess.progress import OnProgress, ignore_progress
from wan_trt.preprocess.scene import Scene


class MaskSource(StrEnum):
    """What a person is cut out by in replace mode without a matte."""

    SAM2 = "sam2"
    BOX = "box"


@dataclass(frozen=True)
class DriverFiles:
    """`reference_keypoints` and the edited figures serve retargeting; the latter are pictures, or
    key points in a .json."""

    video: Path
    reference: Path
    keypoints: Path | None = None
    matte: Path | None = None
    reference_keypoints: Path | None = None
    edited_driver: Path | None = None
    edited_character: Path | None = None


@dataclass(frozen=True)
class DriverChoices:
    """What concerns the preparation alone; see `Options`. `size` is (height, width). `mask_from`
    None: no mask is to be made, or by whatever there is."""

    person: tuple[float, ...] | None = None
    retarget: bool = False
    mask_from: MaskSource | None = None
    smooth_points_s: float = 0.0
    smooth_faces_s: float = 0.0
    face_size: int = Options.face_size
    rate: Fraction | None = None
    size: tuple[int, int] | None = None

    def options(self, choices: RequestChoices) -> Options:
        """With what the request's own settings mean for the driver. Raises InputError."""
        if self.size is not None and choices.area is not None:
            height, width = self.size
            raise InputError(
                f"{width}x{height} together with --area",
                expected="one of the two",
                action="leave one of them out",
                field="size",
            )
        return Options(
            mode=choices.mode or Mode.ANIMATE,
            area=Options.area if choices.area is None else choices.area,
            size=self.size,
            rate=self.rate,
            frame_limit=choices.frames,
            face_size=self.face_size,
            person=PersonChoice() if self.person is None else PersonChoice(self.person),
            smooth_points_s=self.smooth_points_s,
            smooth_faces_s=self.smooth_faces_s,
        )


class Driver:
    """Who opened it may know the video's measures at once; `prepare` looks at all of it."""

    def __init__(
        self,
        files: DriverFiles,
        choices: DriverChoices,
        options: Options,
        networks: NetworkFolder | None,
        resources: ExitStack,
        media: MediaReader | None = None,
    ) -> None:
        """`media` opens the files (None: this process) and is closed with `resources`. `networks`
        are only loaded where key points or outlines have to be found. Raises InputError or
        MediaError naming the field at fault."""
        check_choices(files, choices, options)
        self._options = options
        media = LocalMedia() if media is None else media
        resources.callback(media.close)
        self._video = media.frames(files.video, "video")
        self._matte = None if files.matte is None else media.frames(files.matte, "matte")
        self._reference = media.image(files.reference, "reference")
        self._tracker = None
        if networks is not None and (files.keypoints is None or choices.retarget):
            self._tracker = PersonTracker(networks.detector(), networks.pose())
        self._motion = self._moving(files)
        self._figures = _figures(files, media) if choices.retarget else None
        segmented = choices.mask_from is MaskSource.SAM2 and networks is not None
        self._outlines = networks.outlines() if networks is not None and segmented else None
        check_inputs(self._motion, self._video, options, self._matte, self._figures)
        scene = Scene.of(self._reference, self._motion, self._video, options)
        self.height, self.width = scene.height, scene.width
        self.frame_count, self.rate = len(scene.indices), scene.rate

    def prepare(self, on_progress: OnProgress = ignore_progress) -> Prepared:
        """As `preprocess.prepare`."""
        return prepare(
            self._reference,
            self._motion,
            self._video,
            self._options,
            self._matte,
            outlines=self._outlines,
            figures=self._figures,
            tracker=self._tracker,
            on_progress=on_progress,
        )

    def _moving(self, files: DriverFiles) -> KeypointTrack | PersonTracker:
        if files.keypoints is not None:
            return read_keypoints(files.keypoints, self._video, self._options.person)
        assert self._tracker is not None, "somebody tells the key points"
        return self._tracker


def check_choices(files: DriverFiles, choices: DriverChoices, options: Options) -> None:
    """Raises InputError for what would do nothing."""
    for name in ("reference_keypoints", "edited_driver", "edited_character"):
        if getattr(files, name) is not None and not choices.retarget:
            raise InputError(
                "given without retargeting",
                expected="both, or none",
                action="ask for retargeting, or leave it out",
                field=name,
            )
    if choices.mask_from is not None and (
        options.mode is not Mode.REPLACE or files.matte is not None
    ):
        raise InputError(
            f"{choices.mask_from}, where no mask is to be made",
            expected="replace mode without a matte",
            action="leave it out",
            field="mask_from",
        )


def _figures(files: DriverFiles, media: MediaReader) -> RetargetFigures:
    return RetargetFigures(
        _seen(files.reference_keypoints or files.reference, "reference", media),
        *(
            None if path is None else _seen(path, name, media)
            for name, path in (
                ("edited_driver", files.edited_driver),
                ("edited_character", files.edited_character),
            )
        ),
    )


def _seen(path: Path, field: str, media: MediaReader) -> Seen:
    return read_keypoints(path) if path.suffix.lower() == ".json" else media.image(path, field)
