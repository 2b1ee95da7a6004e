"""A bundle's facts: it is opened, and hashed if that is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

from wan_trt.doctor.facts import BadBundle, BundleFacts, PlanFact, WeightBytes
from wan_trt.engine.bundle import WEIGHTS, Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.manifest import Manifest, StoredTensor

_DENOISER = "denoiser"
_FLOAT32_NBYTES = 4


def bundle_facts(
    path: Path, verify: bool, on_progress: Callable[[int, int], None]
) -> BundleFacts | BadBundle:
    """`on_progress` gets bytes hashed and in all."""
    try:
        bundle = Bundle.open(path)
        bundle.require_all_graphs()
        if verify:
            bundle.verify(on_progress)
    except BundleError as error:
        return BadBundle(str(path), str(error))
    except OSError as error:
        return BadBundle(str(path), f"{error.filename or path}: {error.strerror or error}")
    manifest = bundle.manifest
    return BundleFacts(
        path=str(path),
        model=manifest.model.label,
        precision=manifest.precision,
        nbytes=sum(entry.nbytes for entry in manifest.files.values()),
        file_count=len(manifest.files),
        verified=verify,
        gate=None if manifest.gate is None else manifest.gate.passed,
        weights=weight_bytes(manifest),
        plans=plans_of(manifest),
    )


def weight_bytes(manifest: Manifest) -> WeightBytes:
    """A tensor that two graphs or experts have is one on a GPU, as it is on disk; ONNX Runtime
    widens it in each graph and weight set that has it."""
    denoisers = [list(tensors.values()) for tensors in manifest.graphs[_DENOISER].weights.values()]
    others = [
        tensor
        for name, graph in manifest.graphs.items()
        if name != _DENOISER
        for tensors in graph.weights.values()
        for tensor in tensors.values()
    ]
    every = [tensor for tensors in denoisers for tensor in tensors] + others
    return WeightBytes(
        one_expert=max(_stored(manifest, tensors) for tensors in denoisers),
        both_experts=_stored(manifest, [tensor for tensors in denoisers for tensor in tensors]),
        others=_stored(manifest, others),
        widened=sum(
            _FLOAT32_NBYTES * math.prod(tensor.shape)
            for tensor in every
            if tensor.made.dtype != "float32"
        ),
    )


def plans_of(manifest: Manifest) -> tuple[PlanFact, ...]:
    """The plans that the manifest lists. No manifest of this schema lists any."""
    del manifest
    return ()


def _stored(manifest: Manifest, tensors: Iterable[StoredTensor]) -> int:
    names = {f"{WEIGHTS}/{tensor.sha256}" for tensor in tensors}
    return sum(manifest.files[name].nbytes for name in names)
