"""Clients and servers that die at any moment: nothing that was accepted is lost.

    python benchmarks/serve_soak.py --minutes 30     # and benchmarks/results/serve_soak.json

`wan-trt serve` with one folder is killed again and again (SIGKILL) and started anew; so are the
clients, each a process of its own, in whatever they do. Some leave calls in the middle. At the end
every job that a client was told is accepted has to be done, with the bytes that a server made which
nobody disturbed. docs/benchmarks.md says what the numbers are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from server_process import readers_of, serving, small_bundle, small_media, taken_by

from e2e.machine import describe_machine
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import CancelledError, NotFoundError, ResourceError
from wan_trt.engine.request import JobState
from wan_trt.server.client import Client
from wan_trt.server.errors import UnavailableError
from wan_trt.server.submission import OutputFormat, Submission

RESULTS = Path(__file__).resolve().parent / "results" / "serve_soak.json"
CONTEXT = multiprocessing.get_context("forkserver")
CLIENTS = 4
FRAMES = 13
SEEDS = 4
WISHES = SEEDS * len(OutputFormat)
SERVER_LIVES_S = (0.5, 12.0)
CLIENT_DIES_EVERY_S = 1.5
END_S = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("--bundle", type=Path, help="of Animate (default: a small made-up one)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine(1, ("onnxruntime", "numpy", "grpcio"))
    with tempfile.TemporaryDirectory(prefix="wan-trt-soak-") as folder:
        bundle = options.bundle or small_bundle(Path(folder))
        result = soak(bundle, Path(folder), 60 * options.minutes, options.seed)
    result |= {"seed": options.seed, "machine": machine}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if result["passed"] else 1


def soak(bundle: Path, folder: Path, seconds: float, seed: int) -> dict[str, Any]:
    media = small_media(folder, FRAMES)
    with serving(bundle, folder / "calm", "--log-level", "warning") as (_, address):
        expected = _undisturbed(address, media)
    diary = folder / "diary"
    diary.mkdir()
    kills = _disturb(bundle, folder, media, seconds, random.Random(seed))
    told = _told(diary)
    began = time.monotonic()
    errors = folder / "last.log"
    watched = ("--attempts", "10000", "--metrics-listen", "127.0.0.1:0")
    with (
        serving(bundle, folder / "data", *watched, errors=errors) as (process, address),
        Client(address) as client,
    ):
        ends = Counter(_end(client, told, key, expected) for key in told["accepted"])
        until = time.monotonic() + 10
        while readers_of(process.pid) and time.monotonic() < until:
            time.sleep(0.1)
        left = {
            "readers": readers_of(process.pid),
            "pages_in_use": _pages_in_use(errors.read_text()),
            "files_of_work": _files_of_work(folder / "data"),
        }
        taken = taken_by(process.pid, folder / "data")
    wrong = [f"{key}: {text}" for key, text in told["wrong"].items()]
    lost = {end: count for end, count in ends.items() if end not in ("as expected", "forgotten")}
    return {
        "minutes": round(seconds / 60, 1),
        "kills": kills,
        "accepted": len(told["accepted"]),
        "fetched_by_clients": len(told["fetched"]),
        "ends": dict(ends),
        "wrong_answers": wrong[:20],
        "left": left,
        "taken": asdict(taken),
        "seconds_to_the_end": round(time.monotonic() - began, 1),
        "passed": not (lost or wrong or any(left.values())) and bool(told["accepted"]),
    }


def _undisturbed(address: str, media: dict[str, Path]) -> list[str]:
    with Client(address) as client:
        uploads = {name: client.upload(path) for name, path in media.items()}
        jobs = [client.submit(_wish(uploads, number, "")) for number in range(WISHES)]
        for job_id in jobs:
            client.wait(job_id)
        return [_hash(client, job_id) for job_id in jobs]


def _disturb(
    bundle: Path, folder: Path, media: dict[str, Path], seconds: float, generator: random.Random
) -> dict[str, int]:
    """How many servers and clients were killed."""
    kills = Counter(servers=0, clients=0)
    place = folder / "address"
    clients: dict[int, ForkServerProcess] = {}
    until = time.monotonic() + seconds

    def start(number: int) -> None:
        arguments = (place, folder / "diary", media, generator.getrandbits(32))
        clients[number] = CONTEXT.Process(target=_be_a_client, args=arguments, daemon=True)
        clients[number].start()

    for number in range(CLIENTS):
        start(number)
    while time.monotonic() < until:
        log = folder / "servers.log"
        attempts = ("--attempts", "10000")
        with serving(bundle, folder / "data", *attempts, errors=log) as (process, address):
            new = place.with_suffix(".new")
            new.write_text(address)
            new.replace(place)
            dies = time.monotonic() + generator.uniform(*SERVER_LIVES_S)
            while (left := dies - time.monotonic()) > 0:
                time.sleep(min(left, generator.expovariate(1 / CLIENT_DIES_EVERY_S)))
                if dies > time.monotonic():
                    number = generator.randrange(CLIENTS)
                    clients[number].kill()
                    clients[number].join()
                    kills["clients"] += 1
                    start(number)
            process.kill()
            kills["servers"] += 1
    for client in clients.values():
        client.kill()
        client.join()
    return dict(kills)


def _be_a_client(place: Path, diary: Path, media: dict[str, Path], seed: int) -> None:
    """Until it is killed: submit, by chance watch and fetch or leave, and note what was told. A
    note is one write, so it is whole or not there."""
    generator = random.Random(seed)
    with (diary / f"{os.getpid()}-{seed}").open("ab", buffering=0) as notes:
        for number in range(1_000_000):
            wish = generator.randrange(WISHES)
            key = f"{wish}-{seed}-{number}"
            while True:
                try:
                    with Client(place.read_text(), timeout_s=60) as client:
                        _have_a_wish(client, media, wish, key, notes, generator)
                    break
                except (UnavailableError, ResourceError, FileNotFoundError):
                    time.sleep(0.2)  # and ask again, with the same key
                except Exception as error:
                    notes.write(f"wrong {key} {type(error).__name__}: {error}\n".encode())
                    break


def _have_a_wish(
    client: Client,
    media: dict[str, Path],
    wish: int,
    key: str,
    notes: Any,
    generator: random.Random,
) -> None:
    uploads = {name: client.upload(path) for name, path in media.items()}
    job_id = client.submit(_wish(uploads, wish, key))
    notes.write(f"accepted {key} {job_id}\n".encode())
    match generator.choice(("leave", "watch a bit", "all", "all", "all")):
        case "watch a bit":
            for _ in zip(client.watch(job_id), range(3), strict=False):
                pass
        case "all":
            client.wait(job_id)
            notes.write(f"fetching {key} -\n".encode())  # from now on it may be forgotten
            chunks = client.fetch_chunks(job_id)
            if generator.random() < 0.2:
                next(chunks)  # and leave
                return
            digest = hashlib.sha256(b"".join(chunks)).hexdigest()
            notes.write(f"fetched {key} {digest}\n".encode())


def _told(diary: Path) -> dict[str, dict[str, str]]:
    """By what it is, and key: the job, the hash of its result, or what was wrong."""
    told: dict[str, dict[str, str]] = {
        name: {} for name in ("accepted", "fetching", "fetched", "wrong")
    }
    for file in diary.iterdir():
        for line in file.read_text().splitlines():
            what, key, rest = line.split(" ", 2)
            if what == "accepted" and told[what].get(key, rest) != rest:
                told["wrong"][key] = f"a second job {rest}"
            told[what][key] = rest
    return told


def _end(client: Client, told: dict[str, dict[str, str]], key: str, expected: list[str]) -> str:
    """How an accepted job ended."""
    wish = int(key.split("-")[0])
    right = expected[wish]
    other = f"{list(OutputFormat)[wish // SEEDS].value}: other bytes"
    fetched = told["fetched"].get(key)
    if fetched not in (None, right):
        return f"{other}, fetched"
    try:
        state = client.wait(told["accepted"][key]).state
        if state is not JobState.DONE:
            return state.value
        return "as expected" if _hash(client, told["accepted"][key]) == right else other
    except NotFoundError:  # fetched results are forgotten, the oldest first
        return "forgotten" if key in told["fetching"] else "lost"
    except (CancelledError, ResourceError) as error:
        return type(error).__name__


def _wish(uploads: dict[str, str], number: int, key: str) -> Submission:
    media: dict[str, Any] = uploads
    return Submission(
        **media,
        choices=RequestChoices(
            seed=number % SEEDS, segment_frames=5, sampling=SamplingChoices(steps=3)
        ),
        output_format=list(OutputFormat)[number // SEEDS],
        idempotency_key=key,
    )


def _hash(client: Client, job_id: str) -> str:
    return hashlib.sha256(b"".join(client.fetch_chunks(job_id))).hexdigest()


def _pages_in_use(log: str) -> float:
    """As /metrics tells; where it is stands in the log."""
    (address,) = (
        line.split("metrics on ")[1].split()[0] for line in log.splitlines() if "metrics on" in line
    )
    with urllib.request.urlopen(address) as reply:
        text: str = reply.read().decode()
    (used,) = (line for line in text.splitlines() if line.startswith('wan_trt_pages{state="used"'))
    return float(used.split()[-1])


def _files_of_work(data: Path) -> int:
    """Inputs, spools, checkpoints and half uploads: nothing of it is left of jobs that are done."""
    # Not Path.rglob: what the server forgets meanwhile may go between two looks.
    files = [Path(folder) / name for folder, _, names in os.walk(data) for name in names]
    in_jobs = [path for path in files if (data / "jobs") in path.parents]
    halves = [path for path in files if path.name.endswith(".partial")]
    return len(halves) + sum(not path.name.startswith("result.") for path in in_jobs)


if __name__ == "__main__":
    sys.exit(main())
