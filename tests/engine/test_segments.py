"""Segment planning against the official generator's own bookkeeping."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.engine.segments import clip_chunks, ping_pong, plan_segments, read_frames


@pytest.mark.parametrize(
    ("frames", "overlap", "target", "segments"),
    [
        (77, 1, 77, 1),
        (78, 1, 153, 2),
        (150, 1, 153, 2),
        (300, 1, 305, 4),
        (900, 1, 913, 12),
        (30, 1, 77, 1),
        (77, 5, 77, 1),
        (78, 5, 149, 2),
        (150, 5, 221, 3),
        (300, 5, 365, 5),
        (900, 5, 941, 13),
    ],
)
def test_length_and_number_of_segments(
    frames: int, overlap: int, target: int, segments: int
) -> None:
    plan = plan_segments(frames, 77, overlap)
    assert (plan.target, len(plan.segments)) == (target, segments)


def test_the_example_of_the_module() -> None:
    plan = plan_segments(30, 13, 1)
    assert [(s.start, s.carried, s.kept_stop, s.kept, s.latents) for s in plan.segments] == [
        (0, 0, 13, 13, 4),
        (12, 1, 13, 12, 4),
        (24, 1, 6, 5, 4),
    ]
    assert plan.segments[2].driver_frames(30) == [
        24,
        25,
        26,
        27,
        28,
        29,
        28,
        27,
        26,
        25,
        24,
        23,
        22,
    ]


@pytest.mark.parametrize(
    ("frames", "segment_frames", "overlap", "field"),
    [
        (1, 77, 1, "pose"),
        (0, 77, 1, "pose"),
        (5, 77, 5, "pose"),
        (30, 76, 1, "segment_frames"),
        (30, 1, 1, "segment_frames"),
        (30, -3, 1, "segment_frames"),
        (30, 9, 5, "segment_frames"),
        (6, 5, 5, "segment_frames"),
        (30, 77, 2, "overlap"),
        (30, 77, 0, "overlap"),
    ],
)
def test_what_upstream_crashes_on_is_refused(
    frames: int, segment_frames: int, overlap: int, field: str
) -> None:
    with pytest.raises(InputError) as caught:
        plan_segments(frames, segment_frames, overlap)
    assert caught.value.field == field
    assert caught.value.expected
    assert caught.value.action


def test_the_smallest_segments_that_work() -> None:
    assert plan_segments(30, 5, 1).segments[0].frames == 5
    assert plan_segments(30, 13, 5).segments[0].frames == 13


@pytest.mark.parametrize(("frames", "segments"), [(6, 1), (9, 1), (10, 2), (13, 2)])
def test_two_segments_may_be_shorter_than_two_overlaps(frames: int, segments: int) -> None:
    """The first one has nothing carried over, the last one hands nothing on."""
    plan = plan_segments(frames, 9, 5)
    assert len(plan.segments) == segments
    assert sum(segment.kept for segment in plan.segments) == frames


def test_a_third_segment_must_not_be() -> None:
    with pytest.raises(InputError, match="at most two segments, which 13 frames make; use 13"):
        plan_segments(14, 9, 5)


@settings(deadline=None)
@given(
    frames=st.integers(6, 400),
    groups=st.integers(3, 30),
    overlap=st.sampled_from([1, 5]),
)
def test_every_driver_frame_is_output_once_and_in_order(
    frames: int, groups: int, overlap: int
) -> None:
    plan = plan_segments(frames, 4 * groups + 1, overlap)
    shown = [
        segment.start + offset
        for segment in plan.segments
        for offset in range(segment.carried, segment.kept_stop)
    ]
    assert shown == list(range(frames))
    for before, after in zip(plan.segments, plan.segments[1:], strict=False):
        # What is carried is exactly the tail of the segment before, all of it kept there.
        assert after.start + overlap == before.start + before.frames
        assert before.kept_stop == before.frames
        assert before.kept >= overlap


@settings(deadline=None)
@given(st.integers(2, 50), st.integers(0, 500))
def test_ping_pong_moves_by_one_frame(count: int, position: int) -> None:
    assert abs(ping_pong(position + 1, count) - ping_pong(position, count)) == 1


def test_chunks_of_a_clip() -> None:
    assert list(clip_chunks(9)) == [(0, 1), (1, 5), (5, 9)]
    assert list(clip_chunks(1)) == [(0, 1)]


def test_reading_takes_one_short_range_of_the_source() -> None:
    ranges: list[tuple[int, int]] = []

    class Recorded(ArrayFrames):
        def read(self, start: int, stop: int) -> NDArray[np.uint8]:
            ranges.append((start, stop))
            return super().read(start, stop)

    numbers = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1).repeat(3, axis=3)
    source = Recorded(numbers)
    segment = plan_segments(7, 13, 1).segments[0]
    chunks = [read_frames(source, segment, *chunk)[:, 0, 0, 0] for chunk in clip_chunks(13)]
    assert np.concatenate(chunks).tolist() == [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0]
    assert ranges == [(0, 1), (1, 5), (4, 7), (0, 4)]


def test_ping_pong_golden(golden: Path) -> None:
    for case in json.loads((golden / "preprocess" / "ping_pong.json").read_text())["cases"]:
        shown = [ping_pong(i, case["n"]) for i in range(case["target"])]
        assert shown == case["index"], case["n"]


@pytest.mark.parametrize(("name", "overlap"), [("c77_r1", 1), ("c77_r5", 5)])
def test_segment_plan_golden(golden: Path, name: str, overlap: int) -> None:
    """For 200 lengths: which driver frames each segment sees, and which decoded ones are kept."""
    for case in json.loads((golden / "preprocess" / "segment_plan.json").read_text())[name]:
        count = case["n"]
        if "error" in case:
            with pytest.raises(InputError):
                plan_segments(count, 77, overlap)
            continue
        plan = plan_segments(count, 77, overlap)
        assert plan.target == case["target"]
        assert len(plan.segments) == case["segments"]
        seen = [index for segment in plan.segments for index in segment.driver_frames(count)]
        digest = hashlib.sha256(np.array(seen, np.int32).tobytes()).hexdigest()
        assert digest == case["driver_index_sha256"], count
        kept = [[s.index, s.carried, s.kept_stop - 1] for s in plan.segments]
        assert kept == case["output_runs"], count
