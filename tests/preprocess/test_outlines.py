"""A person's outlines: which frames are prompted, and how they are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine.frames import ArrayFrames, FrameSource
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.outline_chunks import outline_chunks, prompt_points
from wan_trt.preprocess.poses import poses_of
from wan_trt.preprocess.progress import Progress
from wan_trt.preprocess.stored_outlines import StoredOutlines, segment_person


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [(0, 1, (0,))]),
        (4, [(0, 4, (0,))]),
        (8, [(0, 8, (0, 2, 4, 6))]),
        (7, [(0, 7, tuple(range(7)))]),
        (401, [(0, 400, (0, 100, 200, 300)), (400, 401, (400,))]),
        (409, [(0, 400, (0, 100, 200, 300)), (400, 409, (400, 402, 404, 406, 408))]),
    ],
)
def test_chunks_are_upstreams(count: int, expected: list[tuple[int, int, tuple[int, ...]]]) -> None:
    assert [(c.start, c.stop, c.prompted) for c in outline_chunks(count)] == expected


def test_prompts_are_joints_in_whole_pixels(track: KeypointTrack) -> None:
    track.points[0, 12, 2] = 0  # right hip
    points = prompt_points(poses_of(track), 0)
    assert points.shape == (7, 2)
    assert points[0].tolist() == [250, 60]


class Recorder:
    """An OutlineTracker that marks the points it is given."""

    def __init__(self) -> None:
        self.prompted: list[tuple[int, list[int]]] = []

    def outlines(
        self, frames: FrameSource, points: Mapping[int, NDArray[np.float64]]
    ) -> Iterator[NDArray[np.uint8]]:
        self.prompted.append((frames.count, list(points)))
        for index in range(frames.count):
            assert frames.read(index, index + 1).shape == (1, 360, 640, 3)
            mask = np.zeros((360, 640), dtype=np.uint8)
            for x, y in points.get(index, []):
                mask[int(y), int(x)] = 1
            yield mask


def test_frames_without_a_person_give_no_prompt(track: KeypointTrack, driver: ArrayFrames) -> None:
    track.points[3] = 0
    recorder, told = Recorder(), list[Progress]()
    stored = segment_person(driver, poses_of(track), recorder, told.append)
    assert recorder.prompted == [(12, [0, 6, 9])]
    assert stored.count == 12
    assert np.flatnonzero(stored.read(0, 12).any(axis=(1, 2, 3))).tolist() == [0, 6, 9]
    assert [p.done for p in told] == list(range(1, 13))


def test_what_is_kept_comes_back() -> None:
    rng = np.random.default_rng(0)
    outlines = rng.integers(0, 2, (5, 37, 53), dtype=np.uint8)
    stored = StoredOutlines(37, 53, None)
    for outline in outlines:
        stored.add(outline)
    assert np.array_equal(stored.read(1, 4)[..., 2], 255 * outlines[1:4])
    with pytest.raises(ValueError, match="outline"):
        stored.add(outlines[0].T)


def test_outlines_take_little_room() -> None:
    y, x = np.mgrid[:720, :1280]
    stored = StoredOutlines(720, 1280, None)
    for frame in range(4):
        stored.add((np.hypot(x - 640 - 9 * frame, (y - 360) / 2) < 150).astype(np.uint8))
    assert stored.nbytes < 4 * 5000
