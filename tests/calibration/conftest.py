"""One sample and one calibration that many tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from calibration_samples import GUIDED, GoldenCalibration, write_golden_sample

from wan_trt.calibration.calibrate import CalibrationOptions, calibrated
from wan_trt.calibration.recording import Recording


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
        CalibrationOptions(),
        (recording.before_call,),
        lambda _: None,
        None,
    ) as found:
        yield GoldenCalibration(found, recording)
    assert list(work.iterdir()) == []
