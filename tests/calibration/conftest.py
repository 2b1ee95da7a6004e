"""One calibration, and verdicts of the gate, that many tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from calibration_samples import GUIDED, GoldenCalibration, write_golden_sample
from changed_bundles import with_scaled_tensor

from wan_trt.calibration.calibrate import CalibrationOptions, calibrated
from wan_trt.calibration.gate.gate import gate
from wan_trt.calibration.gate.job import JobOptions, made_up_job
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.verdict import Verdict
from wan_trt.calibration.recording import Recording
from wan_trt.engine.bundle import Bundle


@pytest.fixture(scope="session")
def samples(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sample: two chained segments, four steps, guidance 2.5."""
    folder = tmp_path_factory.mktemp("samples")
    write_golden_sample(golden, GUIDED, folder)
    return folder


@pytest.fixture(scope="session")
def calibration(
    golden: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GoldenCalibration]:
    recording, work = Recording(), tmp_path_factory.mktemp("work")
    with calibrated(
        golden / "checkpoint",
        samples,
        work,
        CalibrationOptions(device=torch.device("cpu")),
        (recording.before_call,),
        lambda _: None,
        None,
    ) as found:
        yield GoldenCalibration(found, recording)
    assert list(work.iterdir()) == []


def judged(candidate: Bundle, reference: Bundle) -> Verdict:
    job = made_up_job(reference.manifest, JobOptions())
    return gate(candidate, reference, [job], Thresholds.read(), threads=2)


@pytest.fixture(scope="session")
def self_verdict(tiny_bundle: Bundle) -> Verdict:
    """A bundle against itself."""
    return judged(tiny_bundle, tiny_bundle)


@pytest.fixture(scope="session")
def broken_verdict(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """A bundle one of whose matrices is 8 times too large, as by a wrong scale."""
    folder = tmp_path_factory.mktemp("broken") / "bundle"
    return judged(with_scaled_tensor(tiny_bundle, "blocks.1.ffn.0.weight", 8, folder), tiny_bundle)
