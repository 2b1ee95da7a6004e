from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wan_trt.preprocess.drawn_faces import DrawnFaces
from wan_trt.preprocess.face_crop import face_boxes
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.poses import poses_of

MOUTH = slice(23 + 60, 23 + 68)


def faces_of(track: KeypointTrack, size: int = 128) -> DrawnFaces:
    poses = poses_of(track)
    return DrawnFaces(poses, face_boxes(poses), size)


def test_a_face_fills_the_picture(track: KeypointTrack) -> None:
    faces = faces_of(track)
    pictures = faces.read(0, 12)
    assert pictures.shape == (12, 128, 128, 3)
    assert faces.rate == 24
    assert len(np.unique(pictures[0].reshape(-1, 3), axis=0)) > 8
    assert pictures[0, 20:100, 40:90].mean() > pictures[0, -8:, :8].mean(), "skin and scene"


def test_an_open_mouth_is_darker_and_larger(track: KeypointTrack) -> None:
    shut = faces_of(track).read(0, 1)[0]
    middle = track.points[0, MOUTH, 1].mean()
    track.points[0, MOUTH, 1] = middle + 3 * (track.points[0, MOUTH, 1] - middle)
    wide = faces_of(track).read(0, 1)[0]
    assert np.count_nonzero(wide.sum(axis=2) < 120) > np.count_nonzero(shut.sum(axis=2) < 120)


@pytest.mark.parametrize("size", [8, 32, 512])
def test_every_size_can_be_drawn(track: KeypointTrack, size: int) -> None:
    assert faces_of(track, size).read(3, 5).shape == (2, size, size, 3)


def test_frames_may_be_read_in_any_order(track: KeypointTrack) -> None:
    track.points[:, MOUTH, 1] += 0.5 * np.arange(12)[:, None]
    faces = faces_of(track)
    every = faces.read(0, 12)
    assert np.array_equal(faces.read(7, 8)[0], every[7])
    assert not np.array_equal(every[0], every[7])
    faces.close()


def test_a_frame_without_a_face_repeats_the_one_before(track: KeypointTrack) -> None:
    track.points[4, 23:91, 2] = 0
    faces = faces_of(track).read(0, 12)
    assert np.array_equal(faces[4], faces[3])


def test_a_track_without_faces_shows_an_empty_scene(track: KeypointTrack) -> None:
    track.points[:, 23:91, 2] = 0
    assert len(np.unique(faces_of(track).read(0, 12).reshape(-1, 3), axis=0)) == 1


def test_a_box_for_each_frame(track: KeypointTrack) -> None:
    poses = poses_of(track)
    faces = replace(face_boxes(poses), boxes=())
    with pytest.raises(ValueError, match="0 face boxes for 12 frames"):
        DrawnFaces(poses, faces, 32)
