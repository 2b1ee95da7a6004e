"""What of a bundle's weights fits into memory, in words.

Activations, scratch and the VAE's caches come on top: what fits by this rule may still be too much,
what does not fit by it never runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wan_trt.doctor.facts import WeightBytes


class Resident(StrEnum):
    """What can lie in a GPU's memory at one time."""

    BOTH = "both experts fit"
    ONE = "one expert at a time fits"
    NONE = "not even one expert fits"


@dataclass(frozen=True)
class Fit:
    resident: Resident
    needed_nbytes: int
    free_nbytes: int

    def __str__(self) -> str:
        return (
            f"{self.resident}: {gigabytes(self.needed_nbytes)} of weights, "
            f"{gigabytes(self.free_nbytes)} free, activations not counted"
        )


def fit_on_gpu(weights: WeightBytes, free_nbytes: int) -> Fit:
    """Other graphs run before and after the denoiser and give way to it; with both experts they
    stay too where there is room, which is not asked here."""
    if weights.both_experts <= free_nbytes:
        return Fit(Resident.BOTH, weights.both_experts, free_nbytes)
    resident = Resident.ONE if weights.one_expert <= free_nbytes else Resident.NONE
    return Fit(resident, weights.one_expert, free_nbytes)


def gigabytes(nbytes: int) -> str:
    """In powers of ten, three digits and more for small ones."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"
