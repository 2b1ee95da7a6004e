"""Key points from files: three formats, told apart by what is in them."""

from __future__ import annotations

from pathlib import Path

from wan_trt.engine.frames import FrameSource
from wan_trt.preprocess.keypoint_files.coco import SCHEMA, coco_track, write_keypoints
from wan_trt.preprocess.keypoint_files.json_files import read_json, unusable
from wan_trt.preprocess.keypoint_files.mediapipe import is_mediapipe, mediapipe_track
from wan_trt.preprocess.keypoint_files.openpose import openpose_folder, openpose_track
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.person_choice import LARGEST, PersonChoice

__all__ = ["read_keypoints", "write_keypoints"]


def read_keypoints(
    path: Path | str, driver: FrameSource | None = None, choice: PersonChoice = LARGEST
) -> KeypointTrack:
    """The track in a file, or in a folder of OpenPose's files.

    COCO-WholeBody JSON has its schema in it; an object with `people`, a list of those, or a folder
    of them is OpenPose's; an object with `frames` that are objects is MediaPipe's. What the latter
    two leave out is taken from the `driver`; of several people in them `choice` takes one. Raises
    MediaError, naming the file and the first thing that is wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        return openpose_folder(path, driver, choice)
    content = read_json(path)
    if isinstance(content, list) and content:
        return openpose_track(path, content, driver, choice)
    if not isinstance(content, dict):
        raise unusable(path, f"a JSON {type(content).__name__}", "an object")
    if "people" in content:
        return openpose_track(path, [content], driver, choice)
    if "schema" not in content and is_mediapipe(content):
        return mediapipe_track(path, content, driver)
    if "schema" not in content:
        raise unusable(
            path,
            "neither 'schema', 'people' nor 'frames' of landmarks",
            f"{SCHEMA!r}, OpenPose or MediaPipe JSON",
        )
    return coco_track(path, content)
