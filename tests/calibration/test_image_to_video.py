"""A calibration on a model of two checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from calibration_samples import save_frames

from wan_trt.calibration.calibrate import CalibrationOptions, calibrate
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.request import ExpertName
from wan_trt.export.options import ExportOptions
from wan_trt.export.quantize.rounding import Rounding

PARTS = (
    "self_attn.q",
    "self_attn.k",
    "self_attn.v",
    "self_attn.o",
    "cross_attn.q",
    "cross_attn.k",
    "cross_attn.v",
    "cross_attn.o",
    "ffn.0",
    "ffn.2",
)


def test_two_checkpoints(i2v_checkpoint: Path, i2v_bundle: Bundle, tmp_path: Path) -> None:
    sample = tmp_path / "inputs" / "one"
    sample.mkdir(parents=True)
    picture = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    save_frames(sample / "reference.safetensors", picture)
    (sample / "request.toml").write_text("steps = 2\nframes = 5\narea = 1024\nguidance = 1\n")
    options = CalibrationOptions(export=ExportOptions(reuse=(i2v_bundle.path,), boundary=0.95))
    scales = calibrate(i2v_checkpoint, sample.parent, tmp_path, options)
    modules = {f"blocks.{block}.{part}" for block in range(4) for part in PARTS}
    inputs = {name for name in modules if not name.endswith(("cross_attn.k", "cross_attn.v"))}
    scales.require(scales.origin, Rounding(frozenset(modules), frozenset(inputs)))
    assert scales.fitted[ExpertName.HIGH].keys() == modules
    high, low = (scales.ranges[expert] for expert in ExpertName)
    assert high != low
