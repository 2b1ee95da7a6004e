"""How a job is prepared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Mode
from wan_trt.preprocess.masks import MaskShape
from wan_trt.preprocess.output_size import MULTIPLE
from wan_trt.preprocess.person_choice import PersonChoice


@dataclass(frozen=True)
class Options:
    """How to prepare a job.

    The output has about `area` pixels in the aspect of the reference (animate) or of the driver
    (replace), or exactly `size` = (height, width), multiples of 16. `rate` is the output's frames
    per second (upstream: 30); None keeps the driver's. `frame_limit` cuts after so many frames.
    `person` chooses one of several people, in pixels of the driver. `smooth_points_s` and
    `smooth_faces_s` are deviations in seconds over which key points and face boxes are averaged; 0
    leaves them as they are (upstream).
    """

    mode: Mode = Mode.ANIMATE
    area: int = 1280 * 720
    size: tuple[int, int] | None = None
    rate: Fraction | None = None
    frame_limit: int | None = None
    face_size: int = 512
    mask_shape: MaskShape = field(default_factory=MaskShape)
    person: PersonChoice = field(default_factory=PersonChoice)
    smooth_points_s: float = 0.0
    smooth_faces_s: float = 0.0

    def __post_init__(self) -> None:
        if self.size is not None and any(n < MULTIPLE or n % MULTIPLE for n in self.size):
            height, width = self.size
            raise InputError(
                f"{width}x{height}",
                expected=f"multiples of {MULTIPLE}",
                action=f"round both to a multiple of {MULTIPLE}",
                field="size",
            )
        for name, count in (("frame_limit", self.frame_limit), ("face_size", self.face_size)):
            if count is not None and count < 1:
                raise InputError(
                    f"{count}", expected="at least 1", action="give a larger number", field=name
                )
        for name in ("smooth_points_s", "smooth_faces_s"):
            seconds = getattr(self, name)
            if not 0 <= seconds < math.inf:
                raise InputError(
                    f"{seconds}", expected="seconds, 0 or more", action="correct it", field=name
                )


DEFAULTS = Options()
