"""Preprocessing: a driving video and its key points -> poses, faces, background and mask."""

from wan_trt.preprocess.keypoints import KeypointTrack, read_keypoints
from wan_trt.preprocess.masks import MaskShape
from wan_trt.preprocess.prepare import Options, Prepared, prepare

__all__ = ["KeypointTrack", "MaskShape", "Options", "Prepared", "prepare", "read_keypoints"]
