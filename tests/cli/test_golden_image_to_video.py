"""The official image-to-video runs, repeated through the command line as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from safetensors.numpy import load_file, save_file

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle

I2V = SHARED / "reference" / "wan" / "i2v"
CASES = sorted(
    path.stem for path in I2V.glob("*.json") if path.with_suffix(".inputs.safetensors").exists()
)

LATENTS_MAX = 1e-3
PSNR_DB = 60.0


@pytest.mark.skipif(not CASES, reason="golden data: ../shared is not beside the checkout")
@pytest.mark.parametrize("name", CASES)
def test_generate_gives_the_official_frames(
    name: str, i2v_golden_bundle: Bundle, tmp_path: Path
) -> None:
    case = json.loads((I2V / f"{name}.json").read_text())
    inputs = load_file(I2V / f"{name}.inputs.safetensors")
    save_file({"frames": inputs["image_u8"][None]}, tmp_path / "image.safetensors")
    save_file({"segment.0": inputs["noise"]}, tmp_path / "noise.safetensors")
    low, high = case["guide_scale_low_high"]
    out = tmp_path / "out.safetensors"
    options = {
        "reference": tmp_path / "image.safetensors",
        "noise": tmp_path / "noise.safetensors",
        "prompt": case["prompt"],
        "negative-prompt": case["negative_prompt"],
        "area": case["max_area"],
        "frames": case["frame_num"],
        "steps": case["sampling_steps"],
        "solver": case["sample_solver"],
        "shift": case["shift"],
        "guidance": f"{high},{low}",
        "out": out,
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    assert main(["generate", str(i2v_golden_bundle.path), *words]) == 0

    expected = load_file(I2V / f"{name}.outputs.safetensors")
    found = load_file(out)
    assert set(found) == {"frames", "latents.0"}
    frames = expected["frames"].transpose(1, 2, 3, 0)
    assert found["frames"].shape == frames.shape
    error = float(np.mean((found["frames"].astype(np.float64) - frames) ** 2))
    assert 10 * np.log10(4 / error) >= PSNR_DB
    np.testing.assert_allclose(found["latents.0"], expected["latents"], atol=LATENTS_MAX, rtol=0)
