"""What an NVIDIA GPU can do at most, and what torch makes of a Wan2.2-14B denoiser on it.

    python benchmarks/gpu_roofline.py             all of it: within 9 minutes on an H100 or H200
    python benchmarks/gpu_roofline.py --quick     832x480 alone, within 4 minutes
    python benchmarks/gpu_roofline.py --device cpu --tiny     whether the script works, no numbers

Measures the ceilings (bfloat16 and FP8 matrix products, copies), then self attention, one block and
a whole forward pass at 832x480 and 1280x720 with random weights: bfloat16 with every attention
there is, FP8 linears, 8-bit attention. Needs torch and nothing of wan-trt, so it runs from a source
tree; docs/benchmarks.md says what is measured and how. Writes one JSON file and prints one table.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from roofline import bench, machine
from roofline.report import table
from roofline.results import Missing, Results
from roofline.session import Plan, Session
from roofline.sizes import (
    ANIMATE_14B,
    ERROR_VIDEO,
    IMAGE_TO_VIDEO_14B,
    TINY,
    TINY_VIDEOS,
    VIDEOS,
    DitSizes,
)

RESULTS = Path(__file__).resolve().parent / "results" / "gpu_roofline.json"
MODELS = {"animate": ANIMATE_14B, "i2v": IMAGE_TO_VIDEO_14B}
LIMIT_S, QUICK_LIMIT_S = 500.0, 180.0
GRACE_S = 25.0  # for a kernel that does not return
GB = 10**9


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no GPU that torch can use; try --device cpu --tiny", file=sys.stderr)
        return 3
    device = torch.device(options.device)
    # float32 is what errors are measured against.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    dit = TINY if options.tiny else MODELS[options.model]
    results = Results(
        machine=machine.describe(device), model={"name": dit.name}, label=_label(options)
    )
    begun = time.monotonic()
    out = options.out or (None if options.tiny or device.type == "cpu" else RESULTS)

    def save() -> None:
        results.wall_s = time.monotonic() - begun
        if out is not None:
            results.write(out)

    limit_s = options.limit or (QUICK_LIMIT_S if options.quick else LIMIT_S)
    with _ended_after(limit_s + GRACE_S, results, save):
        before = machine.state(device)
        try:
            bench.run(Session(_plan(options, dit), device, limit_s, results, save))
        finally:
            states = {"before": before, "after": machine.state(device)}
            results.machine = {**results.machine, **{k: v for k, v in states.items() if v}}
            save()
            print(table(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--model", choices=MODELS, default="animate", help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the smaller size, fewer variants")
    parser.add_argument("--tiny", action="store_true", help="a model of no use: for a try")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument(
        "--limit", type=float, metavar="SECONDS", help="begin nothing that ends later"
    )
    parser.add_argument("--out", type=Path, help="the JSON file (default: in benchmarks/results)")
    return parser


def _plan(options: argparse.Namespace, dit: DitSizes) -> Plan:
    videos = TINY_VIDEOS if options.tiny else VIDEOS
    return Plan(
        dit=dit,
        videos=videos[:1] if options.quick else videos,
        error_video=TINY_VIDEOS[1] if options.tiny else ERROR_VIDEO,
        copy_nbytes=GB // 20 if options.tiny else 4 * GB,
        compiled=not options.eager,
        quick=options.quick,
        patience=0.01 if options.tiny else 0.3 if options.quick else 1.0,
    )


def _label(options: argparse.Namespace) -> str:
    told = []
    if options.tiny:
        told.append("a tiny model that nobody uses: shows that the script works, and nothing else")
    if options.device == "cpu":
        told.append("on a CPU: no number of a GPU")
    return "; ".join(told)


@contextmanager
def _ended_after(limit_s: float, results: Results, save: Callable[[], None]) -> Iterator[None]:
    """Ends the process when the time is over, whatever a kernel does, with what was measured."""

    def end() -> None:
        results.missing.append(Missing("what came next", f"stopped after {limit_s:.0f} s"))
        save()
        print(table(results), flush=True)
        os._exit(3)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


if __name__ == "__main__":
    sys.exit(main())
