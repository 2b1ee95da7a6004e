"""What ONNX Runtime's CUDA provider takes of a GPU's memory for the real models, graph by graph.

    make build/onnxruntime-gpu/.installed
    python benchmarks/provider_memory.py --out provider_memory.json

Needs no GPU and no weights: the genuine provider of onnxruntime-gpu runs over CUDA, cuBLAS and
cuDNN that do nothing and write down what they are asked. So what it allocates is what it would
allocate, but for scratch that cuDNN would ask for. The numbers are the same on any machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from provider import silent_libraries

from wan_trt.engine.models import ModelName

SIZES = ("832x480x77", "1280x720x77")
COPIED_NBYTES = 1 << 16
GB = 1e9


def measure(model: str, precision: str, width: str, sizes: tuple[str, ...]) -> dict[str, Any]:
    """Of one model at one precision. Raises CalledProcessError with what went wrong printed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        silent_libraries.build(folder)
        arguments = (model, precision, width, *sizes)
        limits = {"CUDA_COPIES_AT_MOST": str(COPIED_NBYTES), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *("-m", "provider.measure"), *arguments],
            env=silent_libraries.environment(folder, **limits),
            stdout=subprocess.PIPE,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return {"model": model, "precision": precision, **found}


def table(measured: dict[str, Any]) -> str:
    lines = [
        f"{measured['model']}, {measured['precision']}, ONNX Runtime {measured['onnxruntime']}, GB",
        "| graph | size | weights | first run | warm run | kept | kernels, products |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured["rows"]:
        numbers = (row[f"{k}_nbytes"] / GB for k in ("weights", "first_peak", "peak", "kept"))
        lines.append(
            f"| {row['graph']} | {row['size']} | "
            + " | ".join(f"{number:.2f}" for number in numbers)
            + f" | {row['kernels']}, {row['products']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    parser.add_argument("--model", action="append", choices=[*ModelName])
    parser.add_argument("--precision", action="append", choices=("bf16", "fp8"))
    parser.add_argument("--tiny", action="store_true", help="a small model, to try this out")
    parser.add_argument("--size", action="append", metavar="WIDTHxHEIGHTxFRAMES")
    options = parser.parse_args()
    results = []
    for model in options.model or (ModelName.ANIMATE,):
        for precision in options.precision or ("bf16", "fp8"):
            width, sizes = "tiny" if options.tiny else "full", tuple(options.size or SIZES)
            results.append(measure(model, precision, width, sizes))
            print(table(results[-1]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
