"""Whole jobs at FP8 as one types them: calibrate, export, generate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calibration_samples import save_frames, write_small_sample
from changed_bundles import with_scaled_tensor
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wan_trt.calibration.gate.metrics import psnr
from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.export.lora.spec import LoraStacks

LEAST_PSNR_DB = 35.0
_OPTIONS = {"both": "--lora", "high": "--lora-high", "low": "--lora-low"}


@dataclass(frozen=True)
class Case:
    """A model with its float32 bundle, a sample of a job, and how `generate` is asked for it."""

    checkpoint: Path
    loras: LoraStacks
    reference: Bundle
    inputs: Path
    job: Mapping[str, Any]

    def export_fp8(self, folder: Path) -> Bundle:
        """Calibrated on the sample, with the same LoRAs."""
        scales, out = folder / "scales", folder / "fp8"
        model = [str(self.checkpoint), "--reuse", str(self.reference.path)]
        for stack, option in _OPTIONS.items():
            for spec in getattr(self.loras, stack):
                model += [option, str(spec.path)]
        words = [*model, "--inputs", str(self.inputs), "--out", str(scales)]
        assert main(["calibrate", *words]) == 0
        words = [*model, "--precision", "fp8", "--scales", str(scales), "--out", str(out)]
        assert main(["export", *words]) == 0
        return Bundle.open(out)

    def frames(self, bundle: Bundle, out: Path) -> NDArray[np.float32]:
        """What the bundle makes of the job, float32 [T, H, W, 3]."""
        options = [word for name, x in self.job.items() for word in (f"--{name}", str(x))]
        assert main(["generate", str(bundle.path), *options, "--out", str(out)]) == 0
        frames: NDArray[np.float32] = load_file(out)["frames"]
        return frames


@pytest.fixture
def animate(
    tiny_checkpoint: Path, tiny_loras: LoraStacks, tiny_bundle: Bundle, tmp_path: Path
) -> Case:
    """Two chained segments."""
    sample = write_small_sample(tmp_path / "inputs" / "one")
    job = {name: sample / f"{name}.safetensors" for name in ("reference", "pose", "face")}
    settings = {"steps": 2, "segment-frames": 5}
    return Case(tiny_checkpoint, tiny_loras, tiny_bundle, sample.parent, {**job, **settings})


@pytest.fixture
def image_to_video(
    i2v_checkpoint: Path, i2v_loras: LoraStacks, i2v_bundle: Bundle, tmp_path: Path
) -> Case:
    """Guided: two passes a step."""
    sample = tmp_path / "inputs" / "one"
    sample.mkdir(parents=True)
    picture = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    save_frames(sample / "reference.safetensors", picture)
    settings = {"steps": 3, "frames": 5, "area": 1024}
    lines = [f"{name} = {value}" for name, value in settings.items()]
    (sample / "request.toml").write_text("\n".join(lines))
    job = {"reference": sample / "reference.safetensors", **settings}
    return Case(i2v_checkpoint, i2v_loras, i2v_bundle, sample.parent, job)


@pytest.mark.parametrize("model", ["animate", "image_to_video"])
def test_a_job_is_near_the_one_in_float32(
    model: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case: Case = request.getfixturevalue(model)
    bundle = case.export_fp8(tmp_path)
    expected = case.frames(case.reference, tmp_path / "float32.safetensors")
    found = case.frames(bundle, tmp_path / "fp8.safetensors")
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    assert not np.array_equal(found, expected)
    assert psnr(expected, found) > LEAST_PSNR_DB

    broken = with_scaled_tensor(bundle, "blocks.1.modulation", 8, tmp_path / "broken")
    wrong = case.frames(broken, tmp_path / "wrong.safetensors")
    assert psnr(expected, wrong) < LEAST_PSNR_DB, "one wrong tensor would be seen"
