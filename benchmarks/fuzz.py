"""Sends a server whatever a client could, and looks whether it answers as it must and lives on.

    python benchmarks/fuzz.py --minutes 10    # and benchmarks/results/fuzz.json

`wan-trt serve` in a process of its own, on a small made-up bundle; messages and files come from
hypothesis (benchmarks/fuzzing). A wrong answer ends it with the smallest input that gets one.
docs/benchmarks.md says what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
from fuzzing.acts import Act, acts, known_ids, start
from fuzzing.attack import Attack
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from server_process import Taken, readers_of, serving, small_bundle, small_media, taken_by

from e2e.machine import describe_machine

RESULTS = Path(__file__).resolve().parent / "results" / "fuzz.json"
FRAMES = 9


@dataclass(frozen=True)
class Found:
    """What was sent, and what the server's process took before and after. `readers` are processes
    that read media and are left."""

    acts: int
    seconds: float
    calls: Counter[tuple[str, str]]
    kinds: Counter[str]
    jobs: Counter[str]
    before: Taken
    after: Taken
    readers: int


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round (%(default)s)")
    parser.add_argument("--bundle", type=Path, help="of Animate (default: a small made-up one)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine(1, ("grpcio", "hypothesis", "onnxruntime", "protobuf"))
    with tempfile.TemporaryDirectory(prefix="wan-trt-fuzz-") as folder:
        bundle = options.bundle or small_bundle(Path(folder))
        found = fuzz(bundle, Path(folder), 60 * options.minutes, options.seed)
    result = report(found) | {"seed": options.seed, "machine": machine}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name in ("acts", "calls", "errors", "jobs"):
        print(f"{name}: {json.dumps(result[name])}")
    print(f"before {found.before}\nafter  {found.after}, {found.readers} readers left")
    return 0


def fuzz(bundle: Path, folder: Path, seconds: float, seed: int, acts_a_round: int = 200) -> Found:
    """Raises what the first wrong answer is, and AssertionError where the server logs an error."""
    files = {
        field: (path.name, path.read_bytes()) for field, path in small_media(folder, FRAMES).items()
    }
    data, errors = folder / "data", folder / "errors.log"
    done = 0
    with (
        serving(bundle, data, "--log-level", "error", errors=errors) as (process, address),
        grpc.insecure_channel(address) as channel,
    ):
        attack = Attack(channel)
        valid = start(attack, files)
        chosen = acts(valid, known_ids(attack, valid))
        round_of(chosen, attack, seed, acts_a_round)  # what is loaded when first needed
        attack.forget()
        before, began = taken_by(process.pid, data), time.monotonic()
        while time.monotonic() - began < seconds:
            seed += 1
            done += round_of(chosen, attack, seed, acts_a_round)
            if process.poll() is not None:
                raise ChildProcessError(f"the server ended with {process.returncode}")
            if logged := errors.read_text():
                raise AssertionError(f"the server met a bug: {logged[-3000:]}")
        took = time.monotonic() - began
        require_serving(attack, valid)
        after, readers = taken_by(process.pid, data), readers_left(process.pid)
    return Found(done, took, attack.calls, attack.kinds, attack.jobs, before, after, readers)


def round_of(chosen: st.SearchStrategy[Act], attack: Attack, seed: int, count: int) -> int:
    """Do so many acts; how many were done. Raises what the smallest act that fails raises."""
    done = 0

    @seeded(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(chosen)
    def attacked(act: Act) -> None:
        nonlocal done
        act(attack)
        done += 1

    attacked()
    return done


def require_serving(attack: Attack, valid: Any) -> None:
    """After all that, a job that can be done is done."""
    before = attack.jobs["DONE"]
    attack.submit(valid)
    assert attack.jobs["DONE"] == before + 1, attack.jobs


def readers_left(pid: int, within_s: float = 10.0) -> int:
    """They end with their jobs, a moment later."""
    until = time.monotonic() + within_s
    while readers_of(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return readers_of(pid)


def report(found: Found) -> dict[str, Any]:
    calls: dict[str, dict[str, int]] = {}
    for (method, code), number in sorted(found.calls.items()):
        calls.setdefault(method, {})[code] = number
    return {
        "minutes": round(found.seconds / 60, 2),
        "acts": found.acts,
        "calls": calls,
        "errors": dict(sorted(found.kinds.items())),
        "jobs": dict(sorted(found.jobs.items())),
        "before": asdict(found.before),
        "after": asdict(found.after),
        "readers_left": found.readers,
    }


if __name__ == "__main__":
    sys.exit(main())
