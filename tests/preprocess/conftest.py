"""A person made of numbers, for tests that need no golden data."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine.frames import ArrayFrames
from wan_trt.preprocess.keypoints import KeypointTrack

FRAMES, HEIGHT, WIDTH = 12, 360, 640
RATE = Fraction(24)

# Nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; then the feet.
_BODY = [(0, 60), (8, 52), (-8, 52), (16, 56), (-16, 56), (40, 110), (-40, 110), (60, 160)]
_BODY += [(-60, 160), (70, 210), (-70, 210), (25, 210), (-25, 210), (27, 270), (-27, 270)]
_BODY += [(28, 330), (-28, 330), (36, 340), (40, 338), (26, 336), (-36, 340), (-40, 338)]
_BODY += [(-26, 336)]


def _face() -> NDArray[np.float64]:
    """68 points in iBUG order, about the origin, 40 wide and 50 high."""
    angles = np.linspace(np.pi, 0, 17)
    jaw = np.stack([20 * np.cos(angles), 25 * np.sin(angles)], axis=1)
    brows = [(x, -20) for x in (-16, -13, -10, -7, -4, 4, 7, 10, 13, 16)]
    nose = [(0, y) for y in (-12, -8, -4, 0)] + [(x, 3) for x in (-4, -2, 0, 2, 4)]
    eye = [(-4, 0), (-2, -2), (2, -2), (4, 0), (2, 2), (-2, 2)]
    eyes = [(x + centre, y - 12) for centre in (-9, 9) for x, y in eye]
    turns = np.linspace(np.pi, 3 * np.pi, 13)[:-1]
    lips = np.stack([8 * np.cos(turns), 12 + 4 * np.sin(turns)], axis=1)
    turns = np.linspace(np.pi, 3 * np.pi, 9)[:-1]
    mouth = np.stack([6 * np.cos(turns), 12 + 2 * np.sin(turns)], axis=1)
    return np.concatenate([jaw, brows, nose, eyes, lips, mouth])


def _hand(wrist: tuple[int, int]) -> NDArray[np.float64]:
    fingers = [(3 * f - 6, 4 * (joint + 1)) for f in range(5) for joint in range(4)]
    return np.array([(0, 0), *fingers], dtype=np.float64) + wrist


@pytest.fixture
def track() -> KeypointTrack:
    """Twelve frames of a person who walks five pixels a frame to the right, all points seen."""
    face = _face() + np.array([0, 64])
    person = np.concatenate([_BODY, face, _hand((70, 210)), _hand((-70, 210))])
    points = np.ones((FRAMES, 133, 3))
    points[..., :2] = person + np.array([250, 0])
    points[..., 0] += 5 * np.arange(FRAMES)[:, None]
    return KeypointTrack(WIDTH, HEIGHT, RATE, points)


@pytest.fixture
def driver() -> ArrayFrames:
    """The video of that person: noise, no two frames alike."""
    frames = np.random.default_rng(7).integers(1, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return ArrayFrames(frames, RATE)


@pytest.fixture
def reference() -> NDArray[np.uint8]:
    """A square picture."""
    return np.full((300, 300, 3), 90, dtype=np.uint8)


@pytest.fixture(scope="session")
def goldens(golden: Path) -> Path:
    """Golden data of the official preprocessing functions."""
    return golden / "preprocess"
