"""Whether a bundle's input scales are those that were measured, each expert's its own.

Running a job does not tell. E4M3 is a floating-point format: an input scale that is 8 times too
large costs a velocity next to nothing (docs/fp8.md has the numbers), and so do the other expert's
where its ranges are larger; on another input the same scales saturate. But it is certain without a
run: calibration hashes the ranges of each expert when it has measured them, the export hands that
hash on, and what is stored must give it again.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import numpy as np

from wan_trt.engine.errors import BundleError
from wan_trt.engine.manifest import SHARED, Manifest
from wan_trt.engine.request import ExpertName

E4M3_MAX = 448.0


def ranges_digest(ranges: Mapping[str, float]) -> str:
    """sha256 of ranges by name, as float32 holds them."""
    digest = hashlib.sha256()
    for name, value in sorted(ranges.items()):
        digest.update(name.encode() + b"\0" + struct.pack("<f", value))
    return digest.hexdigest()


def require_measured_scales(manifest: Manifest, where: str) -> None:
    """Raise BundleError unless each stored input scale is that of its recipe, and those of each
    expert together are the ranges that were measured for it."""
    measured = manifest.provenance.ranges
    for expert in ExpertName:
        ranges: dict[str, float] = {}
        for graph, entry in manifest.graphs.items():
            weight_set = SHARED if SHARED in entry.weights else expert.value
            for parameter, tensor in entry.weights.get(weight_set, {}).items():
                if tensor.made.scale is None or tensor.made.scale.range is None:
                    continue
                greatest = tensor.made.scale.range
                ranges[parameter.rpartition(".")[0]] = greatest
                if tensor.sha256 != _stored(greatest):
                    raise _error(
                        f"{where} has another tensor as {parameter} of graph {graph} "
                        f"({expert}-noise expert)",
                        f"{greatest:g} / {E4M3_MAX:g}, its recipe's",
                    )
        if measured.get(expert.value) != (ranges_digest(ranges) if ranges else None):
            raise _error(
                f"{where} has input scales of the {expert}-noise expert that were not measured "
                "for it",
                "those of its own calibration",
            )


def _stored(greatest: float) -> str:
    """The name of the file that holds the scale of a range."""
    scale = np.float32(greatest) / np.float32(E4M3_MAX)
    return hashlib.sha256(scale.astype("<f4").tobytes()).hexdigest()


def _error(given: str, expected: str) -> BundleError:
    return BundleError(given, expected=expected, action="export the bundle again")
