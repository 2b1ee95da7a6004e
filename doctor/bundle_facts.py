"""A bundle's facts: it is opened, and hashed if that is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wan_trt.doctor.facts import BadBundle, BundleFacts
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError, InputError
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.memory.footprint import (
    Footprint,
    VideoSize,
    footprint,
    plan_scratch,
)
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import default_frames

_FLOAT32_NBYTES = 4


def bundle_facts(
    path: Path,
    sizes: Sequence[tuple[int, int]],
    verify: bool,
    on_progress: Callable[[int, int], None],
) -> BundleFacts | BadBundle:
    """`sizes` are widths and heights in pixels; `on_progress` gets bytes hashed and in all. Raises
    InputError for a size that the model cannot have."""
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
        experts=tuple(manifest.graphs[DENOISER].weights),
        footprints=tuple(_footprints(manifest, sizes)),
        widened_nbytes=_widened_nbytes(manifest),
        plans=manifest.plans,
    )


def _footprints(manifest: Manifest, sizes: Sequence[tuple[int, int]]) -> Iterator[Footprint]:
    multiple = manifest.geometry.pixel_multiple
    for width, height in sizes:
        if width % multiple or height % multiple:
            raise InputError(f"{width}x{height}", expected=f"multiples of {multiple}", field="size")
        size = VideoSize(height, width, default_frames(manifest.model))
        yield footprint(manifest, size, plan_scratch(manifest, size, manifest.plans))


def _widened_nbytes(manifest: Manifest) -> int:
    """Each graph and weight set has its own."""
    return sum(
        _FLOAT32_NBYTES * math.prod(tensor.shape)
        for graph in manifest.graphs.values()
        for tensors in graph.weights.values()
        for tensor in tensors.values()
        if tensor.made.dtype != "float32"
    )
