"""Reading ahead changes nothing but when frames are decoded."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reader_processes import until

from wan_trt.engine.errors import MediaError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.engine.segments import plan_segments, read_frames
from wan_trt.media import open_frames
from wan_trt.media.read_ahead import ReadAhead

if TYPE_CHECKING:
    from media.conftest import NumberedVideos


class Watched(ArrayFrames):
    """Frames whose first pixel is their number; says which were read, by which thread, and fails
    at some."""

    def __init__(self, count: int, broken: frozenset[int] = frozenset()) -> None:
        frames = np.zeros((count, 2, 3, 3), np.uint8)
        frames[:, 0, 0, 0] = np.arange(count)
        super().__init__(frames)
        self.broken = broken
        self.decoded: list[int] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        assert not self.closed
        self.threads.add(threading.current_thread().name)
        for number in range(start, stop):
            assert self.gate.wait(20)
            if number in self.broken:
                raise MediaError(f"frame {number}")
            self.decoded.append(number)
        return super().read(start, stop)

    def close(self) -> None:
        self.closed = True


def numbers(frames: NDArray[np.uint8]) -> list[int]:
    return [int(number) for number in frames[:, 0, 0, 0]]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    broken=st.frozensets(st.integers(0, 39), max_size=3),
    nbytes=st.sampled_from([1, 200, 1 << 20]),
    places=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=12),
)
def test_any_reads_give_the_same_frames_and_errors(
    count: int, broken: frozenset[int], nbytes: int, places: list[tuple[int, int]]
) -> None:
    source = Watched(count, broken)
    ahead = ReadAhead(source, nbytes)
    for place, length in places:
        start = min(place, count)
        stop = min(start + length, count)
        bad = sorted(broken & set(range(start, stop)))
        if bad:
            with pytest.raises(MediaError, match=f"frame {bad[0]}"):
                ahead.read(start, stop)
        else:
            assert numbers(ahead.read(start, stop)) == list(range(start, stop))
    ahead.close()
    assert source.closed
    assert len(source.threads) <= 1


@pytest.mark.parametrize("overlap", [1, 5])
def test_segments_and_a_driver_played_back_and_forth(videos: NumberedVideos, overlap: int) -> None:
    path = videos.make(count=37)
    frames, ahead = open_frames(path), ReadAhead(open_frames(path))
    for segment in plan_segments(37, 13, overlap).segments:
        for start in range(0, 13, 4):
            stop = min(start + 4, 13)
            expected = read_frames(frames, segment, start, stop)
            assert np.array_equal(read_frames(ahead, segment, start, stop), expected)
    frames.close()
    ahead.close()


def test_the_next_frames_are_decoded_while_nobody_asks_and_no_more() -> None:
    source = Watched(100)
    ahead = ReadAhead(source)
    time.sleep(0.02)
    assert source.decoded == []  # a job that waits holds nothing
    ahead.read(0, 1)
    until(lambda: len(source.decoded) == 12)
    time.sleep(0.02)
    assert source.decoded == list(range(12))
    ahead.read(1, 5)
    until(lambda: len(source.decoded) == 16)
    ahead.read(5, 9)
    until(lambda: len(source.decoded) == 20)
    assert source.decoded == list(range(20))
    ahead.close()


def test_an_overlap_is_not_decoded_again() -> None:
    source = Watched(60)
    ahead = ReadAhead(source)
    for start, stop in ((0, 4), (4, 8), (8, 12), (8, 9), (9, 13)):
        ahead.read(start, stop)
    until(lambda: len(source.decoded) >= 24)
    assert source.decoded == sorted(set(source.decoded))
    ahead.close()


def test_large_frames_are_held_one_by_one() -> None:
    source = Watched(20)
    ahead = ReadAhead(source, nbytes=1)
    ahead.read(0, 1)
    until(lambda: len(source.decoded) == 3)
    time.sleep(0.02)
    assert source.decoded == [0, 1, 2]
    ahead.close()


def test_closing_stops_at_the_frame_that_is_being_decoded() -> None:
    source = Watched(100)
    ahead = ReadAhead(source)
    ahead.read(0, 4)
    until(lambda: len(source.decoded) == 12)
    source.gate.clear()
    met: list[Exception] = []

    def read() -> None:
        try:
            ahead.read(4, 40)
        except MediaError as error:
            met.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    closing = threading.Thread(target=ahead.close)
    closing.start()
    until(lambda: ahead._stopped.is_set())
    source.gate.set()
    closing.join(20)
    reader.join(20)
    assert source.closed
    assert "closed" in str(met[0])
    assert len(source.decoded) < 20
    ahead.close()
    with pytest.raises(MediaError, match="closed"):
        ahead.read(0, 1)
