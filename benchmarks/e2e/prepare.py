"""Writes the checkpoint, the bundle and the inputs of a case: `python -m e2e.prepare FOLDER`,
where FOLDER/case.json says which."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from e2e.arithmetic import real_shares, shares
from e2e.case import Case, make_inputs
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.synthetic.checkpoint import write_checkpoint
from wan_trt.export.synthetic.sizes import CheckpointSizes


def checkpoint_sizes(case: Case) -> CheckpointSizes:
    """The official layout at the case's sizes. Text is 512 tokens: diffusers has that number in
    its code. What runs once and hardly counts in the real model is small."""
    return CheckpointSizes(
        dim=case.dim,
        heads=case.heads,
        ffn=case.ffn,
        layers=case.layers,
        motion_channels=case.motion_channels,
        motion_dim=64,
        face_hidden=64,
        vae_dim=case.vae_dim,
        image_width=160,
        image_layers=4,
        image_size=case.image_pixels,
        text_dim=128,
        text_layers=4,
        text_heads=2,
        text_ffn=320,
        text_vocabulary=1024,
    )


def main() -> None:
    folder = Path(sys.argv[1])
    case = Case(**json.loads((folder / "case.json").read_text()))
    sizes = checkpoint_sizes(case)
    counted = {"case": shares(case, sizes), "real": real_shares()}
    (folder / "shares.json").write_text(json.dumps(counted))
    for old in ("checkpoint", "bundle"):
        shutil.rmtree(folder / old, ignore_errors=True)
    write_checkpoint(folder / "checkpoint", sizes)
    make_inputs(case).save(folder / "inputs.safetensors")
    export_bundle(folder / "checkpoint", folder / "bundle")


if __name__ == "__main__":
    main()
