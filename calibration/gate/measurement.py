"""What was measured of a bundle: how far it is from what it was compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.calibration.gate.velocities import VelocityError


@dataclass(frozen=True)
class LatentError:
    """Of the latents of a segment when its run is over; `sample` is the job's (see `GateJob`)."""

    segment: int
    cosine: float
    relative_error: float
    sample: str = ""


@dataclass(frozen=True)
class FrameErrors:
    """Of the frames start..stop-1; see `metrics`. `drift` is of red, green and blue in 1/255.
    The step into the first frame from the one before counts to `temporal_ratio`."""

    start: int
    stop: int
    psnr: float
    ssim: float
    drift: tuple[float, float, float]
    temporal_ratio: float
    lpips: float | None = None
    sample: str = ""


@dataclass(frozen=True)
class ShownFrame:
    """A frame of both, uint8 [H, W, 3]."""

    index: int
    reference: NDArray[np.uint8]
    candidate: NDArray[np.uint8]
    sample: str = ""


@dataclass(frozen=True)
class Measurement:
    """How far a bundle is from what it was compared with, in all jobs; `jobs` says by name what
    each was. `velocities` is empty where that is no bundle; `failure` is the error with which a run
    of the bundle itself ended, None where none did. No job is run after it."""

    against: str
    against_digest: str
    jobs: Mapping[str, Mapping[str, Any]]
    velocities: tuple[VelocityError, ...] = ()
    latents: tuple[LatentError, ...] = ()
    frames: tuple[FrameErrors, ...] = ()
    shown: tuple[ShownFrame, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    failure: str | None = None
