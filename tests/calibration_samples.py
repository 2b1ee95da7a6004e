"""Samples for calibrations as folders, and what a calibration in memory is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from wan_trt.calibration.calibrate import Calibrated
from wan_trt.calibration.recording import Recording

GUIDED = "animate_cfg_unipc"


def save_frames(path: Path, frames: NDArray[Any]) -> None:
    save_file({"frames": np.ascontiguousarray(frames)}, path)


def write_golden_sample(golden: Path, case: str, folder: Path) -> Path:
    """A golden run of Animate as a sample named as its case, in `folder`."""
    sample = folder / case
    sample.mkdir(parents=True)
    told = json.loads((golden / "pipeline" / f"{case}.json").read_text())
    inputs = load_file(golden / "pipeline" / f"{case}.inputs.safetensors")
    save_frames(sample / "reference.safetensors", inputs["ref"][None])
    save_frames(sample / "pose.safetensors", inputs["pose"])
    save_frames(sample / "face.safetensors", inputs["face"])
    if told["mode"] == "replace":
        save_frames(sample / "background.safetensors", inputs["bg"])
        save_frames(sample / "mask.safetensors", inputs["mask"])
    noise = {f"segment.{k[3:-6]}": v for k, v in inputs.items() if k.endswith(".noise")}
    save_file(noise, sample / "noise.safetensors")
    (sample / "prompt.txt").write_text(told["prompt"], encoding="utf-8")
    (sample / "negative_prompt.txt").write_text(told["negative_prompt"], encoding="utf-8")
    (sample / "request.toml").write_text(
        f"""mode = "{told["mode"]}"
steps = {told["sampling_steps"]}
solver = "{told["sample_solver"]}"
shift = {told["shift"]}
guidance = {told["guide_scale"]}
segment_frames = {told["clip_len"]}
overlap = {told["refert_num"]}
"""
    )
    return sample


def write_small_sample(folder: Path, frames: int = 9, segment_frames: int = 5) -> Path:
    """32x32 pixels, drawn at random: for checkpoints of any size."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(5)

    def pictures(count: int) -> NDArray[np.uint8]:
        return random.integers(0, 256, (count, 32, 32, 3), np.uint8)

    save_frames(folder / "reference.safetensors", pictures(1))
    save_frames(folder / "pose.safetensors", pictures(frames))
    save_frames(folder / "face.safetensors", pictures(frames))
    (folder / "request.toml").write_text(f"steps = 2\nsegment_frames = {segment_frames}\n")
    return folder


@dataclass(frozen=True)
class GoldenCalibration:
    """A calibration of the golden checkpoint by max, its graphs, and their calls."""

    found: Calibrated
    recording: Recording
