from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from wan_trt.engine.frames import ArrayFrames
from wan_trt.preprocess.boxes import Box, central_square
from wan_trt.preprocess.face_crop import crop_face, face_box, face_boxes
from wan_trt.preprocess.face_frames import FaceFrames
from wan_trt.preprocess.keypoint_files import read_keypoints
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.poses import poses_of


def test_boxes_equal_upstream(goldens: Path) -> None:
    for case in json.loads((goldens / "face_crop.json").read_text())["cases"]:
        face = np.array(case["keypoints_face"])
        box = face_box(face, case["image_h"], case["image_w"], case["scale"])
        assert list(box) == case["box_x1_x2_y1_y2"]


def test_pixels_equal_upstream(goldens: Path) -> None:
    tensors = load_file(goldens / "face_crop_pixels.safetensors")
    picture = tensors["crop_in"]
    whole = Box(0, picture.shape[1], 0, picture.shape[0])
    assert np.array_equal(crop_face(picture, whole, 32), tensors["resized32_full"])
    large = crop_face(picture, whole, 512)
    assert np.array_equal(large[::4, ::4], tensors["resized512_stride4"])


def test_more_room_above_than_below(track: KeypointTrack) -> None:
    box = face_boxes(poses_of(track)).boxes[0]
    top, bottom = track.points[0, 23:91, 1].min(), track.points[0, 23:91, 1].max()
    assert top - box.top > 2 * (box.bottom - bottom) > 0


def test_a_frame_without_a_face_borrows_a_box(track: KeypointTrack) -> None:
    whole = face_boxes(poses_of(track))
    assert whole.missing == 0
    track.points[[0, 1, 5], 23:91, 2] = 0
    track.points[[0, 1, 5], 23:91, :2] = 0
    faces = face_boxes(poses_of(track))
    assert faces.missing == 3
    assert faces.boxes[:3] == (whole.boxes[2],) * 3
    assert faces.boxes[5] == whole.boxes[4]
    assert faces.boxes[6:] == whole.boxes[6:]


def test_missing_points_do_not_stretch_the_box(track: KeypointTrack) -> None:
    whole = face_boxes(poses_of(track)).boxes[0]
    track.points[0, 50:60] = (0, 0, 0)  # the nose and a part of an eye: inside the box
    assert face_boxes(poses_of(track)).boxes[0] == whole


def test_half_of_a_face_is_needed(track: KeypointTrack) -> None:
    track.points[3, 23:58, 2] = 0
    assert face_boxes(poses_of(track)).missing == 1


@pytest.mark.parametrize("shift", [(-5000, 0), (5000, 0), (0, -5000), (0, 5000)])
def test_a_face_outside_the_picture_counts_as_missing(
    track: KeypointTrack, shift: tuple[int, int]
) -> None:
    track.points[4, :, :2] += shift
    faces = face_boxes(poses_of(track))
    assert faces.missing == 1
    assert faces.boxes[4] == faces.boxes[3]


def test_a_face_on_one_line_counts_as_missing(track: KeypointTrack) -> None:
    track.points[4, 23:91, 1] = 50
    assert face_boxes(poses_of(track)).missing == 1


def test_without_any_face_the_middle_is_shown(track: KeypointTrack) -> None:
    track.points[:, 23:91, 2] = 0
    faces = face_boxes(poses_of(track))
    assert faces.missing == 12
    assert set(faces.boxes) == {central_square(360, 640)} == {Box(230, 410, 90, 270)}


def test_crops_may_be_read_in_any_order(track: KeypointTrack, driver: ArrayFrames) -> None:
    frames = FaceFrames(driver, face_boxes(poses_of(track)), 48)
    every = frames.read(0, 12)
    assert every.shape == (12, 48, 48, 3)
    assert frames.rate == 24
    for start in (11, 0, 5):
        assert np.array_equal(frames.read(start, start + 1)[0], every[start])
    frames.close()


def test_a_box_for_each_frame(track: KeypointTrack, driver: ArrayFrames) -> None:
    faces = face_boxes(poses_of(track.select([0, 1], None)))
    with pytest.raises(ValueError, match="2 face boxes for 12 frames"):
        FaceFrames(driver, faces, 48)


def test_a_mistracked_video_has_a_box_in_every_frame(shared: Path) -> None:
    track = read_keypoints(shared / "data" / "keypoints" / "replace_forward.coco133.json")
    faces = face_boxes(poses_of(track))
    assert faces.missing == 6
    for box in faces.boxes:
        assert not box.empty
        assert box.left >= 0
        assert box.top >= 0
        assert box.right <= 1280
        assert box.bottom <= 720
