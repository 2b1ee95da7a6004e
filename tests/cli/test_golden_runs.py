"""The official pipeline's golden runs, repeated through the command line as a user would."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SHARED
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle

PIPELINE = SHARED / "reference" / "wan" / "pipeline"
CASES = sorted(
    p.stem for p in PIPELINE.glob("*.json") if p.with_suffix(".inputs.safetensors").exists()
)

FIRST_SEGMENT_MAX = 1e-4
LATENTS_MAX = 5e-4
LATER_MAX, LATER_RMS = 1e-2, 1e-3
PSNR_DB = 60.0


@dataclass(frozen=True)
class Golden:
    """One run of the official code: its parameters, inputs and outputs."""

    case: dict[str, Any]
    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]

    @staticmethod
    def load(name: str) -> Golden:
        return Golden(
            json.loads((PIPELINE / f"{name}.json").read_text()),
            load_file(PIPELINE / f"{name}.inputs.safetensors"),
            load_file(PIPELINE / f"{name}.outputs.safetensors"),
        )

    def arguments(self, folder: Path) -> list[str]:
        """The run as options of `generate`, its inputs written as tensor files."""
        case, options = self.case, []

        def give(option: str, tensors: dict[str, NDArray[Any]]) -> None:
            path = folder / f"{option}.safetensors"
            save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path)
            options.extend([f"--{option}", str(path)])

        give("reference", {"frames": self.inputs["ref"][None]})
        give("pose", {"frames": self.inputs["pose"]})
        give("face", {"frames": self.inputs["face"]})
        if case["mode"] == "replace":
            give("background", {"frames": self.inputs["bg"]})
            give("mask", {"frames": self.inputs["mask"]})
        noise = {k: v for k, v in self.inputs.items() if k.endswith(".noise")}
        give("noise", {f"segment.{k[3:-6]}": v for k, v in noise.items()})
        for option, value in {
            "mode": case["mode"],
            "prompt": case["prompt"],
            "negative-prompt": case["negative_prompt"],
            "steps": case["sampling_steps"],
            "solver": case["sample_solver"],
            "shift": case["shift"],
            "guidance": case["guide_scale"],
            "segment-frames": case["clip_len"],
            "overlap": case["refert_num"],
        }.items():
            options.extend([f"--{option}", str(value)])
        return options


def _psnr(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    error = float(np.mean((found.astype(np.float64) - expected) ** 2))
    return float("inf") if error == 0 else 10 * np.log10(4.0 / error)


@pytest.mark.skipif(not CASES, reason="golden data: ../shared is not beside the checkout")
@pytest.mark.parametrize("name", CASES)
def test_generate_gives_the_official_frames(
    name: str, golden_bundle: Bundle, tmp_path: Path
) -> None:
    golden = Golden.load(name)
    out = tmp_path / "out.safetensors"
    arguments = ["generate", str(golden_bundle.path), *golden.arguments(tmp_path)]
    assert main([*arguments, "--out", str(out)]) == 0

    found = load_file(out)
    expected = golden.outputs["frames"].transpose(1, 2, 3, 0)
    frames = found["frames"]
    assert frames.shape == expected.shape
    assert _psnr(frames, expected) >= PSNR_DB
    first = golden.case["clip_len"]
    np.testing.assert_allclose(frames[:first], expected[:first], atol=FIRST_SEGMENT_MAX, rtol=0)
    np.testing.assert_allclose(frames[first:], expected[first:], atol=LATER_MAX, rtol=0)
    if len(expected) > first:
        later = frames[first:].astype(np.float64) - expected[first:]
        assert np.sqrt(np.mean(later**2)) <= LATER_RMS
    np.testing.assert_allclose(
        found["latents.0"], golden.outputs["seg0.latents"], atol=LATENTS_MAX, rtol=0
    )
    assert sum(key.startswith("latents.") for key in found) == golden.case["segments"]
