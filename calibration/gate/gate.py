"""The gate itself: measure, judge, and note the result in the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wan_trt.calibration.gate.job import GateJob
from wan_trt.calibration.gate.measure import Perceptual, measure
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.verdict import Verdict, judge
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import MANIFEST
from wan_trt.engine.reporting import OnEvent
from wan_trt.media.partial_output import write_text


def gate(
    bundle: Bundle,
    against: Bundle | Path,
    jobs: Sequence[GateJob],
    thresholds: Thresholds,
    *,
    threads: int | None = None,
    lpips: Perceptual | None = None,
    on_event: OnEvent | None = None,
) -> Verdict:
    """Whether `bundle` does all `jobs` as well as `against`, a bundle or the .safetensors that
    `generate` wrote of the only job. Neither is changed. Raises as `measure`."""
    measured = measure(bundle, against, jobs, threads=threads, lpips=lpips, on_event=on_event)
    return judge(measured, thresholds)


def record(bundle: Bundle, verdict: Verdict) -> Bundle:
    """Write the verdict into the bundle's manifest, which is replaced whole; the bundle again.
    Raises MediaError or ResourceError where the manifest cannot be written."""
    manifest = replace(bundle.manifest, gate=verdict.record())
    write_text(bundle.path / MANIFEST, manifest.to_json(), "bundle")
    return Bundle.open(bundle.path)
