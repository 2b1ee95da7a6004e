"""Whether an FP8 bundle has what calibration found for it, each expert its own.

Running a job does not tell. E4M3 is a floating-point format: an input scale that is 8 times too
large costs a velocity next to nothing (docs/fp8.md has the numbers), and so do the other expert's
where its ranges are larger; on another input the same scales saturate. But it is certain without a
run. Calibration hashes what it has found for each expert, by the parameter that it is for:

    X.input_scale     the scale of an input
    X.weight_scale    the scales of a matrix' columns, where they were fitted
    X.bias            what is added to the bias, where it was fitted

The export hands that hash on, and what a manifest says of these parameters must give it again. The
two scales are stored as they were found; of a bias the shift's hash is in its recipe alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from wan_trt.engine.errors import BundleError
from wan_trt.engine.manifest import Manifest, StoredTensor
from wan_trt.engine.request import ExpertName

E4M3_MAX = 448.0
_MATRIX, _COLUMNS = ".weight", ".weight_scale"


def record_digest(found: Mapping[str, str]) -> str:
    """sha256 of what was found for one expert: sha256 of float32 numbers by parameter."""
    digest = hashlib.sha256()
    for parameter, sha256 in sorted(found.items()):
        digest.update(f"{parameter}\0{sha256}\n".encode())
    return digest.hexdigest()


def input_scale_sha256(greatest: float) -> str:
    """Of the scale of an input with this range: the name of its file."""
    scale = np.float32(greatest) / np.float32(E4M3_MAX)
    return hashlib.sha256(scale.astype("<f4").tobytes()).hexdigest()


def require_calibrated(manifest: Manifest, where: str) -> None:
    """Raise BundleError unless each stored scale is that of its recipe, and what each expert has is
    what was found for it."""
    calibrated = manifest.provenance.calibration
    for expert in ExpertName:
        found: dict[str, str] = {}
        for graph, entry in manifest.graphs.items():
            tensors = entry.weights.get(manifest.weight_set(graph, expert), {})
            of = f"of graph {graph} ({expert}-noise expert)"
            _require_own_scales(tensors, where, of)
            found |= dict(_found(tensors))
        if calibrated.get(expert.value) != (record_digest(found) if found else None):
            raise _error(
                f"{where} has scales or biases of the {expert}-noise expert that were not "
                "measured for it",
                "those of its own calibration",
            )


def _found(tensors: Mapping[str, StoredTensor]) -> Iterator[tuple[str, str]]:
    """What calibration is said to have found for these parameters."""
    for parameter, tensor in tensors.items():
        made = tensor.made
        if made.scale is not None and made.scale.range is not None:
            yield parameter, tensor.sha256
        elif made.fitted is not None and not parameter.endswith(_MATRIX):
            yield parameter, made.fitted


def _require_own_scales(tensors: Mapping[str, StoredTensor], where: str, of: str) -> None:
    """Raise BundleError for a scale that is not its recipe's, and for a matrix that was rounded by
    others than stand beside it."""
    for parameter, tensor in tensors.items():
        made = tensor.made
        if made.scale is None:
            continue
        if made.scale.range is not None:
            wanted = f"{made.scale.range:g} / {E4M3_MAX:g}, its recipe's"
            right = tensor.sha256 == input_scale_sha256(made.scale.range)
        else:
            wanted = "the scales that its columns were rounded by"
            matrix = tensors.get(parameter.removesuffix(_COLUMNS) + _MATRIX)
            right = matrix is not None and matrix.made.fitted == made.fitted
            right = right and made.fitted in (None, tensor.sha256)
        if not right:
            raise _error(f"{where} has another tensor as {parameter} {of}", wanted)


def _error(given: str, expected: str) -> BundleError:
    return BundleError(given, expected=expected, action="export the bundle again")
