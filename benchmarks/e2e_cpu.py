"""One job through diffusers' WanAnimatePipeline and through the bundle: time, memory, ratio.

The same made-up weights, pictures, noise, noise levels and number of threads on both sides, float32
everywhere. Each run is a process of its own; the sides take turns. Needs the extra `benchmark`:

    pip install --editable '.[export,benchmark]'
    python benchmarks/e2e_cpu.py

docs/benchmarks.md says what was found and why.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from e2e.case import Case
from e2e.machine import describe_machine
from e2e.measurement import Job, Measurement
from e2e.profile import profile_table, read_profiles
from e2e.report import psnr_db, share_table, summary, table
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "e2e_cpu.json"
LEAST_PSNR_DB = 60.0
SIDES = ("diffusers", "bundle")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    case = Case(**{field.name: getattr(options, field.name) for field in fields(Case)})
    with tempfile.TemporaryDirectory(prefix="e2e-") as scratch:
        folder = Path(scratch) if options.work is None else options.work.resolve()
        _prepare(folder, case)
        if options.profile:
            print(_profile(folder, case, options.threads))
            return 0
        machine = describe_machine(options.threads)
        runs, psnr = _compare(folder, case, options.threads, options.repeats)
        shares = json.loads((folder / "shares.json").read_text())
    sides = {side: summary(measurements) for side, measurements in runs.items()}
    ratio = sides["bundle"]["total_s"] / sides["diffusers"]["total_s"]
    result = {
        "machine": machine,
        "case": {**asdict(case), "tokens": case.tokens, "ffn": case.ffn, "heads": case.heads},
        "repeats": options.repeats,
        "ratio": ratio,
        "psnr_db": psnr,
        **sides,
        "share_of_operations": shares,
    }
    print(f"\n{table(sides['bundle'], sides['diffusers'])}\n")
    print(f"ratio of the totals {ratio:.3f}, frames agree to {psnr:.0f} dB\n")
    print(share_table(shares["case"], shares["real"]))
    _write(options.out, result)
    if psnr < LEAST_PSNR_DB:
        print(f"the two sides do not show the same video: {psnr:.1f} dB", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    for field in fields(Case):
        flag = "--" + field.name.replace("_", "-")
        if field.name == "prompt":
            parser.add_argument(flag, help="encode this on both sides (else on neither)")
        else:
            parser.add_argument(flag, type=int, default=field.default, help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side (%(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    parser.add_argument("--work", type=Path, help="keep checkpoint and bundle here, and reuse them")
    parser.add_argument("--profile", action="store_true", help="only show where the bundle's goes")
    return parser


def _prepare(folder: Path, case: Case) -> None:
    """Checkpoint, bundle and inputs; what lies there for the same case is used again."""
    folder.mkdir(parents=True, exist_ok=True)
    description = json.dumps(asdict(case))
    marker = folder / "case.json"
    if marker.is_file() and marker.read_text() == description and _opens(folder / "bundle"):
        return
    marker.write_text(description)
    print("writing checkpoint and bundle", file=sys.stderr)
    _python("e2e.prepare", str(folder))


def _opens(bundle: Path) -> bool:
    """Whether there is a complete bundle of this version."""
    try:
        Bundle.open(bundle)
    except BundleError:
        return False
    return True


def _compare(
    folder: Path, case: Case, threads: int, repeats: int
) -> tuple[dict[str, list[Measurement]], float]:
    """Measurements of each side, and the PSNR of the last frames of one against the other's."""
    runs: dict[str, list[Measurement]] = {side: [] for side in SIDES}
    frames: dict[str, NDArray[np.float32]] = {}
    for index in range(repeats):
        for side in SIDES:
            measurement, frames[side] = _run(folder, case, threads, side)
            runs[side].append(measurement)
            print(f"run {index + 1}, {side}: {measurement.total_s:.1f} s", file=sys.stderr)
    return runs, psnr_db(frames["bundle"], frames["diffusers"])


def _run(
    folder: Path, case: Case, threads: int, side: str, profile: Path | None = None
) -> tuple[Measurement, NDArray[np.float32]]:
    result = folder / f"{side}.json"
    job = Job(
        checkpoint=str(folder / "checkpoint"),
        bundle=str(folder / "bundle"),
        inputs=str(folder / "inputs.safetensors"),
        result=str(result),
        steps=case.steps,
        prompt=case.prompt,
        threads=threads,
        profile=str(profile) if profile is not None else None,
    )
    job_file = folder / f"{side}.job.json"
    job.write(job_file)
    _python(f"e2e.{side}_side", str(job_file))
    return Measurement(**json.loads(result.read_text())), np.load(result.with_suffix(".npy"))


def _profile(folder: Path, case: Case, threads: int) -> str:
    with tempfile.TemporaryDirectory(prefix="profile-") as profiles:
        _run(folder, case, threads, "bundle", Path(profiles))
        return profile_table(read_profiles(Path(profiles)))


def _python(module: str, argument: str) -> None:
    """Run one of our modules in a process of its own. The parent stays small: on Linux a child's
    peak memory starts from its parent's."""
    path = os.pathsep.join(part for part in (str(HERE), os.environ.get("PYTHONPATH")) if part)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, argument],
        env={**os.environ, "PYTHONPATH": path, "TRANSFORMERS_VERBOSITY": "error"},
        check=True,
    )


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
