"""From a video to who moves in it, with tiny networks; and the whole way to a job's inputs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_networks import red_box, write_networks

from wan_trt.engine.errors import CancelledError, InputError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.engine.request import Mode
from wan_trt.preprocess.figures import RetargetFigures
from wan_trt.preprocess.keypoint_files import read_keypoints, write_keypoints
from wan_trt.preprocess.networks.folder import NetworkFolder
from wan_trt.preprocess.options import Options
from wan_trt.preprocess.person_choice import PersonChoice
from wan_trt.preprocess.person_tracker import PersonTracker
from wan_trt.preprocess.prepare import prepare
from wan_trt.preprocess.progress import Progress

COUNT = 11
SMALL = Options(area=64 * 64, face_size=16)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> NetworkFolder:
    return NetworkFolder(write_networks(tmp_path_factory.mktemp("networks")))


@pytest.fixture(scope="module")
def tracker(networks: NetworkFolder) -> PersonTracker:
    return PersonTracker(networks.detector(), networks.pose())


@pytest.fixture
def walk() -> ArrayFrames:
    """A red box walks four pixels a frame to the right, 96 x 128."""
    return ArrayFrames(red_box(COUNT), Fraction(24))


class CountedFrames(ArrayFrames):
    """Knows how much was read, and how much at a time."""

    read_frames, largest = 0, 0

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        self.read_frames += stop - start
        self.largest = max(self.largest, stop - start)
        return super().read(start, stop)


def test_a_track(tracker: PersonTracker, walk: ArrayFrames) -> None:
    told = list[Progress]()
    track = tracker.track(walk, on_progress=told.append)
    assert (track.count, track.width, track.height) == (COUNT, 128, 96)
    assert track.rate == 24
    steps = np.diff(track.points[..., 0], axis=0)
    np.testing.assert_allclose(steps, 4)
    assert told[-1] == Progress("poses", COUNT, COUNT)


def test_frames_without_anybody(tracker: PersonTracker) -> None:
    frames = red_box(3)
    frames[1] = 160
    anywhere = tracker.track(ArrayFrames(frames))
    assert (anywhere.points[1, :, 2] > 0).any(), "looked for in the whole picture, as upstream"
    followed = tracker.track(ArrayFrames(frames), PersonChoice((30, 48)))
    assert not followed.points[1].any()
    assert np.array_equal(followed.points[[0, 2]], anywhere.points[[0, 2]])


def test_one_frame(tracker: PersonTracker) -> None:
    frames = ArrayFrames(red_box(1), Fraction(24))
    prepared = prepare(red_box(1)[0], tracker, frames, SMALL)
    assert prepared.pose.count == prepared.face.count == 1
    assert prepared.pose.read(0, 1).any()


def test_a_few_frames_at_a_time_and_one_decoding(tracker: PersonTracker) -> None:
    driver = CountedFrames(red_box(30, step=1), Fraction(24))
    prepared = prepare(red_box(1)[0], tracker, driver, Options(mode=Mode.REPLACE, area=64 * 64))
    assert driver.read_frames == 30
    assert prepared.background is not None
    assert prepared.mask is not None
    assert prepared.preview is not None
    sources = (prepared.pose, prepared.face, prepared.background, prepared.mask, prepared.preview)
    for start in range(0, 30, 6):
        for source in sources:
            source.read(start, start + 6)
    assert driver.read_frames == 60
    assert driver.largest <= 8


def test_replace_mode_with_outlines(
    networks: NetworkFolder, tracker: PersonTracker, walk: ArrayFrames
) -> None:
    told = list[Progress]()
    options = Options(mode=Mode.REPLACE, size=(96, 128), face_size=16)
    prepared = prepare(
        red_box(1)[0],
        tracker,
        walk,
        options,
        outlines=networks.outlines(),
        on_progress=told.append,
    )
    assert prepared.mask is not None
    assert prepared.background is not None
    white = prepared.mask.read(0, COUNT)[..., 0] > 127
    red = walk.read(0, COUNT)[..., 1] < 50
    assert (white | ~red).mean() > 0.99, "the person is replaced"
    assert white.mean() < 0.5
    assert not prepared.background.read(0, COUNT)[white].any()
    assert {p.stage for p in told} == {"poses", "masks"}


def test_key_points_that_were_found_can_be_given_back(
    tracker: PersonTracker, walk: ArrayFrames, tmp_path: Path
) -> None:
    reference = red_box(1)[0]
    for mode in Mode:
        options = Options(mode=mode, size=(64, 48), rate=Fraction(12), frame_limit=4, face_size=16)
        first = prepare(reference, tracker, walk, options)
        write_keypoints(first.keypoints, tmp_path / "keypoints.json")
        track = read_keypoints(tmp_path / "keypoints.json")
        assert (track.count, track.width, track.height) == (4, 128, 96)
        again = prepare(reference, track, walk, options)
        assert np.array_equal(first.pose.read(0, 4), again.pose.read(0, 4))


def test_the_person_is_named_in_pixels_of_the_driver(tracker: PersonTracker) -> None:
    driver = ArrayFrames(red_box(3), Fraction(24))
    for place, found in (((30.0, 48.0), True), ((120.0, 90.0), False)):
        options = Options(
            mode=Mode.REPLACE, size=(192, 256), person=PersonChoice(place), face_size=16
        )
        prepared = prepare(red_box(1)[0], tracker, driver, options)
        assert prepared.pose.read(0, 3).any() == found


def test_retargeting_measures_the_reference(tracker: PersonTracker, walk: ArrayFrames) -> None:
    reference = red_box(1)[0]
    plain = prepare(reference, tracker, walk, SMALL)
    figures = RetargetFigures(reference)
    retargeted = prepare(reference, tracker, walk, SMALL, figures=figures)
    assert retargeted.pose.read(0, 2).any()
    assert not np.array_equal(plain.pose.read(0, 2), retargeted.pose.read(0, 2))
    edited = RetargetFigures(reference, reference, reference)
    assert prepare(reference, tracker, walk, SMALL, figures=edited).pose.read(0, 2).any()


def test_cancelling(tracker: PersonTracker, walk: ArrayFrames) -> None:
    def cancel(progress: Progress) -> None:
        raise CancelledError(f"after {progress.done} frames")

    with pytest.raises(CancelledError, match="after 8 frames"):
        prepare(red_box(1)[0], tracker, walk, SMALL, on_progress=cancel)


def test_smoothing_is_an_option(tracker: PersonTracker, walk: ArrayFrames) -> None:
    reference = red_box(1)[0]
    smooth = Options(area=64 * 64, face_size=16, smooth_points_s=0.1, smooth_faces_s=0.1)
    prepared = prepare(reference, tracker, walk, smooth)
    plain = prepare(reference, tracker, walk, SMALL)
    assert not np.array_equal(prepared.keypoints.points, plain.keypoints.points)
    np.testing.assert_allclose(
        prepared.keypoints.points[4:-4], plain.keypoints.points[4:-4], atol=1.0
    )
    with pytest.raises(InputError, match="smooth_points_s: -1"):
        Options(smooth_points_s=-1)


def test_refuses_what_cannot_be_done(tracker: PersonTracker, walk: ArrayFrames) -> None:
    reference = red_box(1)[0]
    track = tracker.track(walk)
    with pytest.raises(InputError, match=r"reference: .*--reference-keypoints"):
        prepare(reference, track, walk, SMALL, figures=RetargetFigures(reference))
    replacing, figures = Options(mode=Mode.REPLACE, area=64 * 64), RetargetFigures(reference)
    with pytest.raises(InputError, match="retarget: retargeting in replace mode"):
        prepare(reference, tracker, walk, replacing, figures=figures)
    with pytest.raises(InputError, match="edited_character: one picture"):
        RetargetFigures(reference, reference)
    with pytest.raises(InputError, match="driver: no driving video"):
        prepare(reference, tracker, None)


def test_the_preview_shows_what_was_found(tracker: PersonTracker) -> None:
    driver = ArrayFrames(red_box(2, 95, 127), Fraction(24))
    prepared = prepare(red_box(1)[0], tracker, driver, SMALL)
    assert prepared.preview is not None
    frames = prepared.preview.read(0, 2)
    assert frames.shape == (2, 96, 128, 3), "even sides, as videos want them"
    changed = (frames[:, :95, :127] != driver.read(0, 2)).any(axis=3)
    assert 0 < changed.mean() < 0.5
    assert (frames == 255).all(axis=3).any(), "a white box around the face"
