"""Every unusable request is refused with a typed error that names its field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toy_jobs import MakeBundle, MakeRequest

from wan_trt.engine import (
    ArrayFrames,
    CollectedFrames,
    Engine,
    Mode,
    Sampling,
)
from wan_trt.engine.errors import InputError
from wan_trt.engine.validation import validate_request


class Size:
    """A source that has a size and no pixels: validation must not read it."""

    rate = None

    def __init__(self, count: int, height: int, width: int) -> None:
        self.count, self.height, self.width = count, height, width

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        raise AssertionError(f"frames {start}..{stop} are not needed yet")

    def close(self) -> None:
        """Nothing is held open."""


class Noise:
    def __init__(self, segments: Mapping[int, NDArray[Any]]) -> None:
        self._segments = segments

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        assert shape == (16, 3, 2, 4)
        return self._segments[index]


GOOD_NOISE = np.zeros((16, 3, 2, 4), np.float32)
BLACK = ArrayFrames(np.zeros((9, 16, 32, 3), np.uint8))
REPLACE = {"mode": Mode.REPLACE}

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("pose", {"pose": Size(9, 24, 32)}),
    ("pose", {"pose": Size(9, 16, 8)}),
    ("pose", {"pose": Size(9, 0, 32)}),
    ("pose", {"pose": Size(9, 16, 16384)}),
    ("pose", {"pose": Size(9, 8192, 8192)}),
    ("pose", {"pose": Size(1, 16, 32)}),
    ("pose", {"pose": Size(0, 16, 32)}),
    ("segment_frames", {"segment_frames": 12}),
    ("segment_frames", {"segment_frames": 40_001}),
    ("segment_frames", {"segment_frames": 5, "overlap": 5}),
    ("overlap", {"overlap": 3}),
    ("reference", {"reference": np.zeros((4, 4, 4), np.uint8)}),
    ("reference", {"reference": np.zeros((4, 4), np.uint8)}),
    ("reference", {"reference": np.zeros((4, 4, 3), np.float32)}),
    ("reference", {"reference": np.zeros((0, 4, 3), np.uint8)}),
    ("reference", {"reference": np.zeros((1, 20_000, 3), np.uint8)}),
    ("reference", {"reference": np.zeros((1, 600, 3), np.uint8)}),
    ("reference", {"reference": "photo.png"}),
    ("face", {"face": Size(8, 8, 8)}),
    ("face", {"face": Size(9, 8, 9)}),
    ("face", {"face": Size(9, 0, 0)}),
    ("background", {"background": BLACK}),
    ("mask", {"mask": BLACK}),
    ("background", {**REPLACE, "background": None}),
    ("mask", {**REPLACE, "mask": None}),
    ("background", {**REPLACE, "background": Size(8, 16, 32)}),
    ("background", {**REPLACE, "background": Size(9, 32, 32)}),
    ("mask", {**REPLACE, "mask": Size(10, 16, 32)}),
    ("mask", {**REPLACE, "mask": Size(9, 16, 16)}),
    ("mask", {**REPLACE, "mask": BLACK}),
    ("mode", {"mode": "repaint"}),
    ("prompt", {"prompt": "lone \ud800 surrogate"}),
    ("negative_prompt", {"negative_prompt": "lone \ud800 surrogate"}),
    ("negative_prompt", {"negative_prompt": "rain"}),
    ("negative_prompt", {"negative_prompt": "rain", "sampling": Sampling(guidance=(0.5, 1.0))}),
    ("steps", {"sampling": Sampling(steps=0)}),
    ("steps", {"sampling": Sampling(steps=1001)}),
    ("steps", {"sampling": Sampling(steps=2.5)}),  # type: ignore[arg-type]
    ("steps", {"sampling": Sampling(steps=True)}),
    ("shift", {"sampling": Sampling(shift=0.0)}),
    ("shift", {"sampling": Sampling(shift=-1.0)}),
    ("shift", {"sampling": Sampling(shift=float("nan"))}),
    ("shift", {"sampling": Sampling(shift=float("inf"))}),
    ("shift", {"sampling": Sampling(shift=1e9)}),
    ("guidance", {"sampling": Sampling(guidance=(float("nan"), 1.0))}),
    ("guidance", {"sampling": Sampling(guidance=(1.0, -1.0))}),
    ("guidance", {"sampling": Sampling(guidance=(1.0,))}),  # type: ignore[arg-type]
    ("solver", {"sampling": Sampling(solver="heun")}),  # type: ignore[arg-type]
    ("seed", {"seed": -1}),
    ("seed", {"seed": 2**64}),
    ("seed", {"seed": 0.5}),
    ("noise", {"noise": Noise({0: GOOD_NOISE})}),
    ("noise", {"noise": Noise({0: GOOD_NOISE, 1: GOOD_NOISE * np.nan})}),
    ("noise", {"noise": Noise({0: GOOD_NOISE[:, 1:], 1: GOOD_NOISE})}),
    ("noise", {"noise": Noise({0: GOOD_NOISE.astype(np.float64), 1: GOOD_NOISE})}),
]


@pytest.mark.parametrize(("field", "changes"), REFUSED)
def test_refused(
    make_bundle: MakeBundle, make_request: MakeRequest, field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InputError) as caught:
        validate_request(make_request(frames=9, **changes), make_bundle().manifest)
    error = caught.value
    assert error.field == field
    assert error.given
    assert error.expected
    assert str(error).startswith(f"{field}: ")


def test_accepted_requests_come_back_planned(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    manifest = make_bundle().manifest
    for changes in (
        {},
        {"pose": Size(9, 16, 32), "face": Size(9, 512, 512)},
        {"mode": Mode.REPLACE},
        {"noise": Noise({0: GOOD_NOISE, 1: GOOD_NOISE})},
        {"prompt": "", "negative_prompt": ""},
        {"negative_prompt": " blurry "},  # the model's own
        {"negative_prompt": "rain", "sampling": Sampling(steps=3, guidance=(1.0, 2.0))},
    ):
        plan, schedule = validate_request(make_request(frames=9, **changes), manifest)
        assert len(plan.segments) == 2
        assert schedule.steps == 3


def test_a_mask_is_scanned_in_parts_and_only_up_to_its_first_white_pixel(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    frames = np.zeros((60, 16, 32, 3), np.uint8)
    frames[20, 3, 3] = 255
    ranges: list[tuple[int, int]] = []

    class Recorded(ArrayFrames):
        def read(self, start: int, stop: int) -> NDArray[np.uint8]:
            ranges.append((start, stop))
            return super().read(start, stop)

    request = make_request(frames=60, mode=Mode.REPLACE, mask=Recorded(frames))
    validate_request(request, make_bundle().manifest)
    assert ranges == [(0, 16), (16, 32)]


def test_a_refused_request_leaves_the_sink_alone(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    class Untouchable(CollectedFrames):
        def abort(self) -> None:
            raise AssertionError("nothing was begun")

    with Engine(make_bundle(), threads=1) as engine:
        with pytest.raises(InputError):
            engine.submit(make_request(seed=-1), Untouchable())
        assert not engine.step()
