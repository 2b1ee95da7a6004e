"""Writes a case's checkpoint and LoRAs: `python -m scale.prepare FOLDER`; FOLDER/case.json says
which. FOLDER/prepared.json, written last, has what it took."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

from scale.case import Case, Width
from scale.process import peak_nbytes
from wan_trt.engine.request import ExpertName
from wan_trt.export.synthetic.checkpoint import write_checkpoint, write_large_checkpoint
from wan_trt.export.synthetic.lora import write_musubi_lora

CASE, PREPARED, CHECKPOINT = "case.json", "prepared.json", "checkpoint"


def lora_file(folder: Path, expert: ExpertName) -> Path:
    return folder / f"lora_{expert}.safetensors"


def main() -> None:
    folder = Path(sys.argv[1])
    case, started = Case.read(folder / CASE), time.perf_counter()
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    write = write_checkpoint if case.width is Width.TINY else write_large_checkpoint
    write(folder / CHECKPOINT, case.sizes)
    checkpoint_s, checkpoint_peak = time.perf_counter() - started, peak_nbytes()
    for seed, expert in enumerate(ExpertName):
        alpha = case.rank / 2
        write_musubi_lora(
            lora_file(folder, expert), case.sizes, rank=case.rank, alpha=alpha, seed=seed
        )
    took = {
        "checkpoint_s": checkpoint_s,
        "checkpoint_peak_nbytes": checkpoint_peak,
        "total_s": time.perf_counter() - started,
        "peak_nbytes": peak_nbytes(),
    }
    (folder / PREPARED).write_text(json.dumps(took))


if __name__ == "__main__":
    main()
