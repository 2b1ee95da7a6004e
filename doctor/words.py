"""Numbers as the doctor tells them."""

from __future__ import annotations

from wan_trt.engine.memory.residency import Residency


def dotted(numbers: tuple[int, ...]) -> str:
    """(8, 9) -> "8.9"."""
    return ".".join(map(str, numbers))


def gigabytes(nbytes: int) -> str:
    """In powers of ten; megabytes where they are few."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"


def fit(residency: Residency) -> str:
    """`1280x720, 77 frames: both experts (77.9 GB of 84.0 GB)`; with a job's state and its work."""
    needed, free = gigabytes(residency.need.total), gigabytes(residency.free_nbytes)
    return f"{residency.footprint.size}: {residency.mode} ({needed} of {free} free)"
