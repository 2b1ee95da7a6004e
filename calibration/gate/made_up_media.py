"""A drawn figure that moves: media for a gate that is given none."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SKIN, _COAT, _EYES = (224, 172, 105), (40, 70, 160), (20, 20, 20)
_LIMBS = ((255, 0, 0), (255, 170, 0), (85, 255, 0), (0, 170, 255))


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """A figure before a sky, uint8 [height, width, 3]."""
    rows = np.linspace(0, 1, height)[:, None, None]
    sky = np.array([120, 170, 230]) * (1 - rows) + np.array([200, 180, 140]) * rows
    image = Image.fromarray(np.broadcast_to(sky, (height, width, 3)).astype(np.uint8))
    draw, unit = ImageDraw.Draw(image), min(height, width)
    middle = width / 2
    draw.rectangle(_box(middle, 0.68 * height, 0.2 * unit, 0.3 * unit), fill=_COAT)
    draw.ellipse(_box(middle, 0.25 * height, 0.14 * unit, 0.16 * unit), fill=_SKIN)
    for side in (-1, 1):
        eye = _box(middle + side * 0.05 * unit, 0.23 * height, 0.02 * unit, 0.02 * unit)
        draw.ellipse(eye, fill=_EYES)
    return np.asarray(image)


def driver(
    frames: int, height: int, width: int, face_size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A waving skeleton, uint8 [frames, height, width, 3], and its talking face, uint8 [frames,
    face_size, face_size, 3]."""
    phases = [2 * math.pi * frame / 12 for frame in range(frames)]
    poses = np.stack([_pose(phase, height, width) for phase in phases])
    return poses, np.stack([_face(phase, face_size) for phase in phases])


def _pose(phase: float, height: int, width: int) -> NDArray[np.uint8]:
    image = Image.new("RGB", (width, height))
    draw, unit = ImageDraw.Draw(image), min(height, width)
    middle, line = width / 2 + 0.05 * unit * math.sin(phase), max(2, unit // 24)
    shoulder, hip = (middle, 0.4 * height), (middle, 0.7 * height)
    draw.line([shoulder, hip], fill=(0, 0, 255), width=line)
    for number, colour in enumerate(_LIMBS):
        start = shoulder if number < 2 else hip
        swing = phase * (1 if number % 2 else -1) / 2
        angle = math.pi / 2 + (1 if number % 2 else -1) * (0.6 + 0.4 * math.sin(swing))
        end = start[0] + 0.3 * unit * math.cos(angle), start[1] + 0.3 * unit * math.sin(angle)
        draw.line([start, end], fill=colour, width=line)
    return np.asarray(image)


def _face(phase: float, size: int) -> NDArray[np.uint8]:
    image = Image.new("RGB", (size, size), (90, 90, 90))
    draw = ImageDraw.Draw(image)
    draw.ellipse(_box(size / 2, size / 2, 0.36 * size, 0.45 * size), fill=_SKIN)
    for side in (-1, 1):
        draw.ellipse(_box((0.5 + 0.15 * side) * size, 0.4 * size, 2, 2), fill=_EYES)
    mouth = 0.02 + 0.05 * (1 + math.sin(phase)) / 2
    draw.ellipse(_box(size / 2, 0.7 * size, 0.12 * size, mouth * size), fill=(150, 40, 40))
    return np.asarray(image)


def _box(x: float, y: float, half_width: float, half_height: float) -> tuple[float, ...]:
    return x - half_width, y - half_height, x + half_width, y + half_height
