from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.preprocess.frame_ranges import PIECE
from wan_trt.preprocess.frame_rate import SampledFrames, sample_indices


def test_indices_equal_upstream(goldens: Path) -> None:
    cases = json.loads((goldens / "frame_sampling.json").read_text())["cases"]
    for case in cases:
        if case["fps"] == -1:
            continue  # keeping the source's rate is not a question of sampling here
        indices = sample_indices(case["frame_num"], case["video_fps"], case["fps"])
        assert indices == case["indices"], case


@pytest.mark.parametrize(
    "rates", [(0.0, 30.0), (30.0, 0.0), (30.0, -1.0), (float("nan"), 30.0), (30.0, float("inf"))]
)
def test_refuses_impossible_rates(rates: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="fps: "):
        sample_indices(10, *rates)


def test_refuses_to_leave_no_frame() -> None:
    with pytest.raises(InputError, match="less than one frame"):
        sample_indices(10, 30.0, 2.0)


class Counting(ArrayFrames):
    """Remembers the longest range it was asked for."""

    longest = 0

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        self.longest = max(self.longest, stop - start)
        return super().read(start, stop)


@pytest.mark.parametrize("step", [0.4, 1.0, 2.0, 25.0])
def test_samples_are_the_sources_frames(step: float) -> None:
    values = np.arange(200, dtype=np.uint8)[:, None, None, None]
    source = Counting(np.broadcast_to(values, (200, 2, 2, 3)).copy())
    indices = [int(i * step) for i in range(int(200 / step))]
    sampled = SampledFrames(source, indices, Fraction(5))
    assert sampled.count == len(indices)
    assert sampled.rate == 5
    assert sampled.read(0, sampled.count)[:, 0, 0, 0].tolist() == indices
    assert sampled.read(3, 6)[:, 0, 0, 0].tolist() == indices[3:6]
    assert sampled.read(3, 3).shape == (0, 2, 2, 3)
    assert source.longest <= PIECE
    sampled.close()


def test_frames_may_go_back() -> None:
    source = ArrayFrames(np.arange(60, dtype=np.uint8).reshape(20, 1, 1, 3))
    back_and_forth = [0, 19, 18, 1, 1]
    read = SampledFrames(source, back_and_forth, None).read(0, 5)
    assert np.array_equal(read, source.read(0, 20)[back_and_forth])
