"""A tiny bundle and inputs for the smoke test of the wheel: `smoke_inputs.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.synthetic.checkpoint import write_checkpoint
from wan_trt.export.synthetic.sizes import TINY

folder = Path(sys.argv[1])
export_bundle(write_checkpoint(folder / "checkpoint", TINY), folder / "bundle")
generator = np.random.default_rng(0)
for name, shape in {
    "reference": (1, 32, 48, 3),
    "pose": (12, 32, 48, 3),
    "face": (12, 32, 32, 3),
}.items():
    frames = generator.integers(0, 256, shape, dtype=np.uint8)
    save_file({"frames": frames}, folder / f"{name}.safetensors")
