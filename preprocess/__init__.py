"""Preprocessing: a driving video and who moves in it -> poses, faces, background and mask."""

from wan_trt.preprocess.driver import Driver, DriverChoices, DriverFiles, MaskSource
from wan_trt.preprocess.figures import RetargetFigures
from wan_trt.preprocess.keypoint_files import read_keypoints, write_keypoints
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.masks import MaskShape
from wan_trt.preprocess.options import Options
from wan_trt.preprocess.person_choice import PersonChoice
from wan_trt.preprocess.person_tracker import PersonTracker
from wan_trt.preprocess.prepare import Prepared, prepare
from wan_trt.preprocess.progress import Progress

__all__ = [
    "Driver",
    "DriverChoices",
    "DriverFiles",
    "KeypointTrack",
    "MaskShape",
    "MaskSource",
    "Options",
    "PersonChoice",
    "PersonTracker",
    "Prepared",
    "Progress",
    "RetargetFigures",
    "prepare",
    "read_keypoints",
    "write_keypoints",
]
