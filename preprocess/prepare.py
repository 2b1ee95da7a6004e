"""From a driving video and its key points to what an AnimateRequest needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.letterbox import Letterbox
from wan_trt.engine.request import Mode
from wan_trt.preprocess.drawn_faces import DrawnFaces
from wan_trt.preprocess.face_crop import face_boxes
from wan_trt.preprocess.face_frames import FaceFrames
from wan_trt.preprocess.fitted_frames import FittedFrames
from wan_trt.preprocess.frame_rate import SampledFrames, sample_indices
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.mask_frames import ApproximateMasks, BackgroundFrames, MatteMasks
from wan_trt.preprocess.masks import MaskShape
from wan_trt.preprocess.output_size import MULTIPLE, size_for_area
from wan_trt.preprocess.person_box import approximate_person_boxes
from wan_trt.preprocess.pose_frames import PoseFrames
from wan_trt.preprocess.poses import PoseTrack, poses_of


@dataclass(frozen=True)
class Options:
    """How to prepare a job.

    The output has about `area` pixels in the aspect of the reference (animate) or of the driver
    (replace), or exactly `size` = (height, width), multiples of 16. `rate` is the output's frames
    per second (upstream: 30); None keeps the driver's. `frame_limit` cuts after so many frames.
    """

    mode: Mode = Mode.ANIMATE
    area: int = 1280 * 720
    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    frame_limit: int | None = None
    face_size: int = 512
    mask_shape: MaskShape = field(default_factory=MaskShape)

    def __post_init__(self) -> None:
        if self.size is not None and any(n < MULTIPLE or n % MULTIPLE for n in self.size):
            height, width = self.size
            raise InputError(
                f"{width}x{height}",
                expected=f"multiples of {MULTIPLE}",
                action=f"round both to a multiple of {MULTIPLE}",
                field="size",
            )
        for name, value in (("frame_limit", self.frame_limit), ("face_size", self.face_size)):
            if value is not None and value < 1:
                raise InputError(
                    f"{value}", expected="at least 1", action="give a larger number", field=name
                )


@dataclass(frozen=True)
class Prepared:
    """The inputs of one job, all of one length; `background` and `mask` in replace mode only.

    Nothing is computed before it is read. The sources share the driver: closing one of those that
    show it closes it for all. `frames_without_face` counts the frames whose face box is a guess.
    """

    mode: Mode
    reference: NDArray[np.uint8] = field(repr=False)
    pose: FrameSource
    face: FrameSource
    background: FrameSource | None
    mask: FrameSource | None
    frames_without_face: int

    def close(self) -> None:
        for source in (self.pose, self.face, self.background, self.mask):
            if source is not None:
                source.close()


def prepare(
    reference: NDArray[np.uint8],
    keypoints: KeypointTrack,
    driver: FrameSource | None,
    options: Options = Options(),
    matte: FrameSource | None = None,
) -> Prepared:
    """What a job needs, from `reference` (uint8 [h, w, 3]), a driver and its key points.

    Animate mode, upstream's way without retargeting: poses are drawn at the driver's size and
    letterboxed into the reference's aspect, faces are cut out of the driver as it is. Replace mode:
    the driver is first fitted into the output's size, and all else is made from that.

    Without a driver faces are drawn (`DrawnFaces`), in animate mode only. `matte` (white = person,
    as the driver in size and length) is for replace mode; without one the replaced region is
    approximated from the key points.

    Raises InputError when the track, the matte or an option does not fit the driver.
    """
    _check(keypoints, driver, options.mode, matte)
    height, width = options.size or _size(reference, keypoints, options)
    indices, rate = _timing(keypoints, driver, options)
    track = keypoints.select(indices, rate)
    if driver is None:
        poses = poses_of(track)
        faces = face_boxes(poses)
        drawn = DrawnFaces(poses, faces, options.face_size)
        pose = PoseFrames(poses, height, width)
        return Prepared(options.mode, reference, pose, drawn, None, None, faces.missing)
    used: FrameSource = SampledFrames(driver, indices, rate)
    if options.mode is Mode.REPLACE:
        letterbox = Letterbox(driver.height, driver.width, height, width)
        track = KeypointTrack(width, height, rate, letterbox.map_points(track.points))
        used = FittedFrames(used, height, width)
    poses = poses_of(track)
    faces = face_boxes(poses)
    face = FaceFrames(used, faces, options.face_size)
    pose = PoseFrames(poses, height, width)
    if options.mode is Mode.ANIMATE:
        return Prepared(options.mode, reference, pose, face, None, None, faces.missing)
    sampled_matte = None if matte is None else SampledFrames(matte, indices, rate)
    mask = _mask(poses, sampled_matte, options.mask_shape)
    background = BackgroundFrames(used, mask)
    return Prepared(options.mode, reference, pose, face, background, mask, faces.missing)


def _mask(poses: PoseTrack, matte: FrameSource | None, shape: MaskShape) -> FrameSource:
    """The replaced region at the size of the poses' picture."""
    if matte is not None:
        fitted = FittedFrames(matte, poses.height, poses.width, cv2.INTER_NEAREST)
        return MatteMasks(fitted, shape)
    boxes = approximate_person_boxes(poses)
    return ApproximateMasks(boxes, poses.height, poses.width, shape, poses.rate)


def _check(
    keypoints: KeypointTrack, driver: FrameSource | None, mode: Mode, matte: FrameSource | None
) -> None:
    if mode is Mode.ANIMATE and matte is not None:
        raise InputError(
            "a matte in animate mode",
            expected="one in replace mode only",
            action="leave it out, or change the mode",
            field="matte",
        )
    if driver is None:
        if mode is Mode.REPLACE:
            raise InputError(
                "no driving video",
                expected="one in replace mode: it is the scene",
                action="name the video, or change the mode",
                field="driver",
            )
        return
    given = (keypoints.count, keypoints.width, keypoints.height)
    _check_match("keypoints", given, driver)
    if matte is not None:
        _check_match("matte", (matte.count, matte.width, matte.height), driver)


def _check_match(field_name: str, given: tuple[int, int, int], driver: FrameSource) -> None:
    wanted = (driver.count, driver.width, driver.height)
    if given != wanted:
        raise InputError(
            "{} frames of {}x{}".format(*given),
            expected="{} frames of {}x{} as in the driving video".format(*wanted),
            action="use the ones made from this very video",
            field=field_name,
        )


def _size(
    reference: NDArray[np.uint8], keypoints: KeypointTrack, options: Options
) -> tuple[int, int]:
    if options.mode is Mode.REPLACE:
        return size_for_area(keypoints.height, keypoints.width, options.area)
    return size_for_area(reference.shape[0], reference.shape[1], options.area)


def _timing(
    keypoints: KeypointTrack, driver: FrameSource | None, options: Options
) -> tuple[list[int], Fraction | None]:
    """Which frames of the driver to use, and at what rate they play."""
    rate = (driver.rate if driver is not None else None) or keypoints.rate
    if options.rate is None or options.rate == rate:
        indices = list(range(keypoints.count))
    elif rate is None:
        raise InputError(
            f"{options.rate} frames per second asked of a driver without a frame rate",
            expected="a driver or a track that has one",
            action="leave the rate as it is",
            field="fps",
        )
    else:
        indices = sample_indices(keypoints.count, float(rate), float(options.rate))
    return indices[: options.frame_limit], options.rate or rate
