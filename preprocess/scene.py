"""The driver as a job uses it: which of its frames, how fast, and in which size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import InputError
from wan_trt.engine.frames import FrameSource
from wan_trt.engine.letterbox import Letterbox
from wan_trt.engine.request import Mode
from wan_trt.preprocess.fitted_frames import FittedFrames
from wan_trt.preprocess.frame_rate import SampledFrames, sample_indices
from wan_trt.preprocess.keypoints import KeypointTrack
from wan_trt.preprocess.options import Options
from wan_trt.preprocess.output_size import size_for_area
from wan_trt.preprocess.person_choice import PersonChoice
from wan_trt.preprocess.person_tracker import PersonTracker
from wan_trt.preprocess.shared_frames import SharedFrames


@dataclass(frozen=True)
class Scene:
    """`frames` are the driver's `indices`, out of `total`, at `rate`; None without a driver.

    `height` and `width` are the output's; `letterbox` is what the frames went through, if anything.
    """

    frames: FrameSource | None
    indices: list[int]
    total: int
    rate: Fraction | None
    height: int
    width: int
    letterbox: Letterbox | None

    @classmethod
    def of(
        cls,
        reference: NDArray[np.uint8],
        motion: KeypointTrack | PersonTracker,
        driver: FrameSource | None,
        options: Options,
    ) -> Scene:
        shown = driver if driver is not None else motion
        assert not isinstance(shown, PersonTracker)
        height, width = options.size or _size(reference, shown, options)
        indices, rate = frame_timing(motion, driver, options)
        if driver is None:
            return cls(None, indices, shown.count, rate, height, width, None)
        used: FrameSource = SampledFrames(driver, indices, rate)
        letterbox = None
        if options.mode is Mode.REPLACE:
            letterbox = Letterbox(driver.height, driver.width, height, width)
            used = FittedFrames(used, height, width)
        return cls(SharedFrames(used), indices, driver.count, rate, height, width, letterbox)

    def from_driver(self, track: KeypointTrack) -> KeypointTrack:
        """A track of the whole driver, or of its used frames, as one of the frames."""
        whole = track.count == self.total
        track = track.select(self.indices if whole else range(track.count), self.rate)
        if self.letterbox is None:
            return track
        points = self.letterbox.map_points(track.points)
        return KeypointTrack(self.width, self.height, self.rate, points)

    def in_driver(self, track: KeypointTrack) -> KeypointTrack:
        """A track of the frames in pixels of the driver."""
        box = self.letterbox
        if box is None:
            return track
        points = box.unmap_points(track.points)
        return KeypointTrack(box.source_width, box.source_height, track.rate, points)

    def person_in_frames(self, options: Options) -> PersonChoice:
        return options.person if self.letterbox is None else options.person.inside(self.letterbox)


def _size(
    reference: NDArray[np.uint8], shown: FrameSource | KeypointTrack, options: Options
) -> tuple[int, int]:
    if options.mode is Mode.REPLACE:
        return size_for_area(shown.height, shown.width, options.area)
    return size_for_area(reference.shape[0], reference.shape[1], options.area)


def frame_timing(
    motion: KeypointTrack | PersonTracker, driver: FrameSource | None, options: Options
) -> tuple[list[int], Fraction | None]:
    """Which frames of the driver to use, and at what rate they play."""
    track = motion if isinstance(motion, KeypointTrack) else None
    shown = driver if driver is not None else track
    assert shown is not None
    rate = shown.rate or (track.rate if track is not None else None)
    if options.rate is None or options.rate == rate:
        indices = list(range(shown.count))
    elif rate is None:
        raise InputError(
            f"{options.rate} frames per second asked of a driver without a frame rate",
            expected="a driver or a track that has one",
            action="leave the rate as it is",
            field="fps",
        )
    else:
        indices = sample_indices(shown.count, float(rate), float(options.rate))
    return indices[: options.frame_limit], options.rate or rate


def check_match(field_name: str, given: tuple[int, int, int], driver: FrameSource) -> None:
    """Raises InputError unless `given` (count, width, height) are the driver's."""
    wanted = (driver.count, driver.width, driver.height)
    if given != wanted:
        raise InputError(
            "{} frames of {}x{}".format(*given),
            expected="{} frames of {}x{} as in the driving video".format(*wanted),
            action="use the ones made from this very video",
            field=field_name,
        )
