"""Bundles are run once by the gate, and judged by many tests."""

from __future__ import annotations

import pytest
from changed_bundles import with_scaled_tensor

from wan_trt.calibration.gate.gate import gate
from wan_trt.calibration.gate.job import JobOptions, made_up_job
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.verdict import Verdict
from wan_trt.engine.bundle import Bundle


def judged(candidate: Bundle, reference: Bundle) -> Verdict:
    job = made_up_job(reference.manifest, JobOptions())
    return gate(candidate, reference, job, Thresholds.read(), threads=2)


@pytest.fixture(scope="session")
def self_verdict(tiny_bundle: Bundle) -> Verdict:
    """A bundle against itself."""
    return judged(tiny_bundle, tiny_bundle)


@pytest.fixture(scope="session")
def broken_verdict(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """A bundle one of whose matrices is 8 times too large, as by a wrong scale."""
    folder = tmp_path_factory.mktemp("broken") / "bundle"
    return judged(with_scaled_tensor(tiny_bundle, "blocks.1.ffn.0.weight", 8, folder), tiny_bundle)
