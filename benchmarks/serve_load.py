"""What serving costs: latencies with many clients, bytes a second, processor time, memory.

    python benchmarks/serve_load.py           # the tables, and benchmarks/results/serve_load.json

`wan-trt serve` in a process of its own, on a small made-up bundle; this process is all clients,
each with a connection of its own. docs/benchmarks.md says what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
from server_process import children_of, serving, small_bundle, small_media, taken_by
from serving_share import Shape, derive_real, measure_share

from e2e.machine import describe_machine
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.server.client import Client
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.submission import OutputFormat, Submission
from wan_trt.server.submission_messages import submission_to_wire

RESULTS = Path(__file__).resolve().parent / "results" / "serve_load.json"
CLIENTS = (1, 8, 64, 256)
FRAMES = 9
IDLE_JOBS = 32
LONG = 1000  # steps: such a job does not end by itself here
FETCHED_NBYTES = 256 << 20
SHAPE = Shape()
Result = TypeVar("Result")


class Load:
    """One server and its clients."""

    def __init__(self, address: str, pid: int, data: Path, media: dict[str, Path]) -> None:
        self._address, self._pid, self._data = address, pid, data
        with Client(address) as client:
            uploads: dict[str, Any] = {name: client.upload(path) for name, path in media.items()}
        self._submission = Submission(**uploads, output_format=OutputFormat.RAW)

    def latencies(self, clients: int) -> dict[str, float]:
        """Of Submit, and from the call of Watch to its first event, in ms; all clients at once."""
        request = self._request(LONG)
        start = threading.Barrier(clients)

        def one(stub: Any) -> tuple[float, float]:
            start.wait()
            began = time.perf_counter()
            job = stub.Submit(request)
            submitted = time.perf_counter()
            next(stub.Watch(wire.WatchRequest(job_id=job.job_id)))
            seen = time.perf_counter()
            stub.Cancel(wire.CancelRequest(job_id=job.job_id))
            return 1000 * (submitted - began), 1000 * (seen - submitted)

        submits, watches = zip(*self._together(clients, one), strict=True)
        return {"clients": clients, **_told("submit", submits), **_told("first_event", watches)}

    def throughput(self, clients: int, nbytes: int) -> dict[str, float]:
        """Of Fetch of a raw result that has so many bytes, whole, by each client; MB/s of all
        together, and what the server's process needs for it."""
        with Client(self._address) as client:
            job_id = client.submit(self._wish(1))
            client.wait(job_id)
        # A small model makes small results: a larger file takes its place.
        (path,) = (self._data / "jobs" / job_id).glob("result.*")
        with path.open("wb") as file:
            for _ in range(nbytes >> 20):
                file.write(os.urandom(1 << 20))
        start = threading.Barrier(clients)

        def one(stub: Any) -> int:
            start.wait()
            return sum(len(each.chunk) for each in stub.Fetch(wire.FetchRequest(job_id=job_id)))

        cpu_s, began = self._cpu_s(), time.perf_counter()
        fetched = sum(self._together(clients, one))
        took_s, cpu_s = time.perf_counter() - began, self._cpu_s() - cpu_s
        assert fetched == clients * nbytes
        return {
            "clients": clients,
            "megabytes_s": round(fetched / took_s / 1e6, 1),
            "server_cpu_s_each_gb": round(cpu_s / fetched * 1e9, 2),
            "server_cpu_share": round(cpu_s / took_s, 2),
        }

    def memory(self, jobs: int) -> dict[str, float]:
        """Of each job that waits, and of each watcher of one, in kB: the server's own resident
        memory, and that of the process that reads the job's media (private pages)."""
        with ExitStack() as stack:
            client = stack.enter_context(Client(self._address))
            first = client.submit(self._wish(LONG))
            before = taken_by(self._pid, self._data).resident_nbytes
            waiting = [client.submit(self._wish(LONG)) for _ in range(jobs)]
            with_jobs = taken_by(self._pid, self._data).resident_nbytes
            (fork_server,) = children_of(self._pid)
            readers = [_private_nbytes(pid) for pid in children_of(fork_server)]
            stub = _stub(stack.enter_context(grpc.insecure_channel(self._address)))
            calls = [stub.Watch(wire.WatchRequest(job_id=job_id)) for job_id in waiting]
            for call in calls:
                next(call)
            watched = taken_by(self._pid, self._data).resident_nbytes
            cancelled = time.perf_counter()
            for job_id in (first, *waiting):
                client.cancel(job_id)
            cancelled = time.perf_counter() - cancelled
            for call in calls:
                assert any(True for _ in call)
        return {
            "jobs": jobs,
            "server_kb_a_job": round((with_jobs - before) / jobs / 1000, 1),
            "reader_kb_a_job": round(statistics.median(readers) / 1000, 1),
            "server_kb_a_watcher": round((watched - with_jobs) / jobs / 1000, 1),
            "cancel_ms": round(1000 * cancelled / (jobs + 1), 2),
        }

    def _wish(self, steps: int) -> Submission:
        sampling = SamplingChoices(steps=steps)
        return replace(
            self._submission, choices=RequestChoices(segment_frames=5, sampling=sampling)
        )

    def _request(self, steps: int) -> wire.SubmitRequest:
        return submission_to_wire(self._wish(steps))

    def _together(self, clients: int, one: Callable[[Any], Result]) -> list[Result]:
        """What each client comes to, all of them connected before."""
        with ExitStack() as stack, ThreadPoolExecutor(clients) as threads:
            stubs = []
            for _ in range(clients):
                channel = stack.enter_context(
                    grpc.insecure_channel(
                        self._address, options=[("grpc.use_local_subchannel_pool", 1)]
                    )
                )
                grpc.channel_ready_future(channel).result(60)
                stubs.append(_stub(channel))
            return list(threads.map(one, stubs))

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--megabytes", type=int, default=FETCHED_NBYTES >> 20, help="of a result")
    parser.add_argument("--bundle", type=Path, help="of Animate (default: a small made-up one)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    machine = describe_machine(1, ("onnxruntime", "numpy", "grpcio", "protobuf"))
    with tempfile.TemporaryDirectory(prefix="wan-trt-load-") as name:
        folder = Path(name)
        bundle = options.bundle or small_bundle(folder)
        most = max(options.clients)
        limits = ("--max-unfinished", str(most + 8), "--log-level", "warning")
        with serving(bundle, folder / "data", *limits) as (process, address):
            load = Load(address, process.pid, folder / "data", small_media(folder, FRAMES))
            result: dict[str, Any] = {
                "machine": machine,
                "latencies": [load.latencies(clients) for clients in options.clients],
                "fetch": [load.throughput(n, options.megabytes << 20) for n in (1, 4)],
                "memory": load.memory(min(most, IDLE_JOBS)),
            }
        share = measure_share(bundle, folder, SHAPE)
        of_one = result["fetch"][0]["server_cpu_s_each_gb"]
        share["real"] = derive_real(share["small"], share["large"][0], SHAPE, of_one)
        result["serving"] = share
        result["load_after"] = round(os.getloadavg()[0], 2)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


def _stub(channel: grpc.Channel) -> Any:
    make: Any = wire_grpc.VideoServiceStub
    return make(channel)


def _told(what: str, values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    slowest = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return {
        f"{what}_median_ms": round(statistics.median(ordered), 2),
        f"{what}_p99_ms": round(slowest, 2),
    }


def _private_nbytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


if __name__ == "__main__":
    sys.exit(main())
