"""What a server's memory comes to over many jobs, of which some are cancelled at random moments.

    python benchmarks/soak.py             # 500 jobs, and benchmarks/results/soak.json

`wan-trt serve` with a folder of its own, in a process of its own, on a small made-up bundle; this
process is the client. Jobs wait a few at a time, a third of them is cancelled after a random
while, results of the others are fetched. docs/benchmarks.md says what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from server_process import Taken, serving, small_bundle, small_media, taken_by

from e2e.machine import describe_machine
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import CancelledError
from wan_trt.server.client import Client
from wan_trt.server.submission import OutputFormat, Submission

RESULTS = Path(__file__).resolve().parent / "results" / "soak.json"
JOBS_AT_A_TIME = 4
FRAMES = 9


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=500, help="how many (%(default)s)")
    parser.add_argument("--warm", type=int, default=50, help="the first sample is after so many")
    parser.add_argument("--bundle", type=Path, help="of Animate (default: a small made-up one)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine(1, ("onnxruntime", "numpy", "grpcio"))
    with tempfile.TemporaryDirectory(prefix="wan-trt-soak-") as folder:
        bundle = options.bundle or small_bundle(Path(folder))
        started = time.monotonic()
        ends, samples = soak(bundle, Path(folder), options.jobs, options.warm)
    growth = samples[-1][1].resident_nbytes / samples[0][1].resident_nbytes - 1
    for jobs, sample in samples:
        print(
            f"after {jobs:4} jobs: {sample.resident_nbytes / 1e6:.1f} MB resident, "
            f"{sample.threads} threads, {sample.descriptors} descriptors, {sample.files} files"
        )
    print(f"growth {growth:+.1%}; {dict(ends)}")
    result = {
        "machine": machine,
        "jobs": options.jobs,
        "seconds": round(time.monotonic() - started, 1),
        "ends": dict(ends),
        "growth": round(growth, 4),
        "samples": [{"jobs": jobs, **asdict(sample)} for jobs, sample in samples],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def soak(
    bundle: Path, folder: Path, jobs: int, warm: int
) -> tuple[Counter[str], list[tuple[int, Taken]]]:
    """Run the jobs; how they ended, and ten samples from `warm` jobs on to the end."""
    generator = random.Random(0)
    ends: Counter[str] = Counter()
    samples = []
    every = max((jobs - warm) // 9, 1)
    data = folder / "data"
    with serving(bundle, data) as (process, address), Client(address) as client:
        uploads = {name: client.upload(path) for name, path in small_media(folder, FRAMES).items()}
        waiting: deque[tuple[str, bool]] = deque()
        for number in range(jobs):
            job_id = client.submit(_submission(uploads, number, generator))
            waiting.append((job_id, generator.random() < 1 / 3))
            if len(waiting) == JOBS_AT_A_TIME or number == jobs - 1:
                while waiting and (len(waiting) == JOBS_AT_A_TIME or number == jobs - 1):
                    ends[_end(client, *waiting.popleft(), generator)] += 1
            done = sum(ends.values())
            if (done >= warm and (done - warm) % every == 0) or number == jobs - 1:
                samples.append((done, taken_by(process.pid, data)))
    return ends, samples


def _submission(uploads: dict[str, Any], number: int, generator: random.Random) -> Submission:
    return Submission(
        **uploads,
        choices=RequestChoices(
            seed=number,
            segment_frames=5,
            sampling=SamplingChoices(steps=generator.randint(1, 4)),
        ),
        output_format=generator.choice(list(OutputFormat)),
    )


def _end(client: Client, job_id: str, cancel: bool, generator: random.Random) -> str:
    """Cancel the job at a random moment, or wait for it and fetch its result."""
    if cancel:
        last = generator.randint(1, 12)
        for event in client.watch(job_id):
            if event.sequence >= last:
                break
        client.cancel(job_id)
    try:
        state = client.wait(job_id).state.value
    except CancelledError:
        return "cancelled"
    for _ in client.fetch_chunks(job_id):
        pass
    return state


if __name__ == "__main__":
    sys.exit(main())
