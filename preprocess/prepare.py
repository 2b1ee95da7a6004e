"""From a driving video and whoever moves in it to what an AnimateRequest needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.request import Mode
from wan_trt.preprocess.contracts import OutlineTracker
from wan_trt.preprocess.drawn_faces import DrawnFaces
from wan_trt.preprocess.face_crop import face_boxes
from wan_trt.preprocess.face_frames import FaceFrames
from wan_trt.preprocess.figures import RetargetFigures
from wan_trt.preprocess.fitted_frames import FittedFrames
from wan_trt.preprocess.frame_rate import SampledFrames
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.mask_frames import ApproximateMasks, BackgroundFrames, MatteMasks
from wan_trt.preprocess.options import DEFAULTS, Options
from wan_trt.preprocess.person_box import approximate_person_boxes
from wan_trt.preprocess.person_tracker import PersonTracker
from wan_trt.preprocess.pose_frames import PoseFrames
from wan_trt.preprocess.poses import PoseTrack, poses_of
from wan_trt.preprocess.preview import PreviewFrames
from wan_trt.preprocess.progress import OnProgress, ignore_progress
from wan_trt.preprocess.retarget import retarget
from wan_trt.preprocess.scene import Scene, check_match, frame_timing
from wan_trt.preprocess.shared_frames import SharedFrames
from wan_trt.preprocess.smoothing import smoothed_boxes, smoothed_track
from wan_trt.preprocess.stored_outlines import segment_person

_DEFAULT_RATE = 30.0


@dataclass(frozen=True)
class Prepared:
    """The inputs of one job, all of one length; `background` and `mask` in replace mode only.

    Nothing is drawn or cut out before it is read; who reads all of them range by range decodes the
    driver once. The sources share the driver: closing one of those that show it closes it for all.
    `frames_without_face` counts the frames whose face box is a guess. `keypoints` are those that
    were used, in pixels of the driver. `preview` shows what was found; without a driver it is None.
    """

    mode: Mode
    reference: NDArray[np.uint8] = field(repr=False)
    pose: FrameSource
    face: FrameSource
    background: FrameSource | None
    mask: FrameSource | None
    frames_without_face: int
    keypoints: KeypointTrack
    preview: FrameSource | None

    def close(self) -> None:
        for source in (self.pose, self.face, self.background, self.mask):
            if source is not None:
                source.close()


def prepare(
    reference: NDArray[np.uint8],
    motion: KeypointTrack | PersonTracker,
    driver: FrameSource | None,
    options: Options = DEFAULTS,
    matte: FrameSource | None = None,
    *,
    outlines: OutlineTracker | None = None,
    figures: RetargetFigures | None = None,
    tracker: PersonTracker | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Prepared:
    """What a job needs, from `reference` (uint8 [h, w, 3]), a driver and its person's motion.

    `motion` is the driver's key points, or what finds them: then the whole driver is looked at here
    and now, a few frames at a time. Animate mode, upstream's way: poses are drawn at the driver's
    size and letterboxed into the reference's aspect, or with `figures` retargeted and drawn in the
    reference's picture; faces are cut out of the driver as it is. Replace mode: the driver is first
    fitted into the output's size, and all else is made from that.

    Without a driver faces are drawn (`DrawnFaces`), in animate mode only, from key points. Replace
    mode knows the person's region from `matte` (white = person, as the driver in size and length),
    or `outlines`, which segments it here and now, or else approximately from the key points.
    `tracker` looks at the pictures of `figures`; default: `motion`, where that is one.

    Raises InputError when the track, the matte or an option does not fit the driver, and whatever
    `on_progress` raises.
    """
    check_inputs(motion, driver, options, matte, figures)
    if isinstance(motion, PersonTracker):
        tracker = tracker or motion
    scene = Scene.of(reference, motion, driver, options)
    if isinstance(motion, KeypointTrack):
        track = scene.from_driver(motion)
    else:
        assert scene.frames is not None
        track = motion.track(scene.frames, scene.person_in_frames(options), on_progress)
    rate = float(scene.rate or _DEFAULT_RATE)
    if options.smooth_points_s > 0:
        track = smoothed_track(track, options.smooth_points_s * rate)
    poses = poses_of(track)
    faces = face_boxes(poses)
    if options.smooth_faces_s > 0:
        faces = smoothed_boxes(faces, options.smooth_faces_s * rate)
    pose = _pose(poses, scene, figures, tracker)
    mask: FrameSource | None = None
    background: FrameSource | None = None
    if scene.frames is None:
        face: FrameSource = DrawnFaces(poses, faces, options.face_size)
        preview = None
    else:
        face = FaceFrames(scene.frames, faces, options.face_size)
        if options.mode is Mode.REPLACE:
            if outlines is not None:
                matte = segment_person(scene.frames, poses, outlines, on_progress)
            elif matte is not None:
                matte = SampledFrames(matte, scene.indices, scene.rate)
            mask = SharedFrames(_mask(poses, matte, options))
            background = BackgroundFrames(scene.frames, mask)
        preview = PreviewFrames(scene.frames, poses, faces, mask)
    return Prepared(
        options.mode,
        reference,
        pose,
        face,
        background,
        mask,
        faces.missing,
        scene.in_driver(track),
        preview,
    )


def _pose(
    poses: PoseTrack,
    scene: Scene,
    figures: RetargetFigures | None,
    tracker: PersonTracker | None,
) -> PoseFrames:
    if figures is not None:
        poses = retarget(poses, figures.measure(poses, scene.height, scene.width, tracker))
    return PoseFrames(poses, scene.height, scene.width)


def _mask(poses: PoseTrack, matte: FrameSource | None, options: Options) -> FrameSource:
    """The replaced region at the size of the poses' picture."""
    if matte is not None:
        fitted = FittedFrames(matte, poses.height, poses.width, cv2.INTER_NEAREST)
        return MatteMasks(fitted, options.mask_shape)
    boxes = approximate_person_boxes(poses)
    return ApproximateMasks(boxes, poses.height, poses.width, options.mask_shape, poses.rate)


def check_inputs(
    motion: KeypointTrack | PersonTracker,
    driver: FrameSource | None,
    options: Options,
    matte: FrameSource | None,
    figures: RetargetFigures | None,
) -> None:
    """What `prepare` refuses before it looks at any frame. Raises InputError."""
    animate = options.mode is Mode.ANIMATE
    if animate and matte is not None:
        raise InputError(
            "a matte in animate mode",
            expected="one in replace mode only",
            action="leave it out, or change the mode",
            field="matte",
        )
    if not animate and figures is not None:
        raise InputError(
            "retargeting in replace mode",
            expected="it in animate mode only: in the scene the character moves as the person does",
            action="leave it out, or change the mode",
            field="retarget",
        )
    if driver is None:
        if not animate or isinstance(motion, PersonTracker):
            raise InputError(
                "no driving video",
                expected="one in replace mode: it is the scene",
                action="name the video, or change the mode",
                field="driver",
            )
        return
    if isinstance(motion, KeypointTrack):
        used = len(frame_timing(motion, driver, options)[0])
        count = driver.count if motion.count == used else motion.count
        check_match("keypoints", (count, motion.width, motion.height), driver)
    if matte is not None:
        check_match("matte", (matte.count, matte.width, matte.height), driver)
