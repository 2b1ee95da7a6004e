"""The processor's share of serving against denoising: a part of serve_load.py.

Jobs go through one counted server (counted_server.py), one after the other: Submit, watchers,
Fetch. Short and long ones tell what a step costs from what a job costs; a job with a larger
picture says what the share is where a step takes about a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from counted_server import SERVING, Part, Reading, children_ms
from server_process import children_of, serving, small_media

from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.server.client import Client
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.submission import OutputFormat, Submission

FRAMES = 9
SEGMENTS = 2
CHECKPOINT_STEPS = 4  # as servers have it by default
REAL_FRAMES, REAL_SIZE = 77, (480, 832)
REAL_STEP_S = {"the FP8 peak": 0.87, "as published": 4.2}
"""Of Animate-14B at 832x480 on an H100: 1717 TFLOP by 1979 TFLOP/s, and by the 410 TFLOP/s that
upstream's times of I2V-A14B come to."""
_SETTLED_S = 0.1


@dataclass(frozen=True)
class Shape:
    """What is measured: steps of short and long jobs and how many of each; and jobs whose steps are
    large: their watchers and outputs."""

    watchers: Sequence[int] = (0, 1, 8, 64)
    short: int = 4
    long: int = 100
    turns: int = 3
    large: Sequence[tuple[int, OutputFormat]] = (
        (1, OutputFormat.RAW),
        (64, OutputFormat.RAW),
        (1, OutputFormat.MP4),
    )
    large_steps: int = 20
    large_frames: int = 13
    large_height: int = 480
    large_width: int = 832


@dataclass(frozen=True)
class Job:
    """What one took: of the server, and of the processes that read its media."""

    events: int
    taken: Reading
    readers_ms: float

    @property
    def serving_ms(self) -> float:
        return self.taken.of_parts(SERVING)


class CountedServer:
    """Does jobs, and says what they took."""

    def __init__(self, address: str, pid: int, counts: Path) -> None:
        self._address, self._pid, self._counts = address, pid, counts

    def submission(
        self, media: dict[str, Path], segment_frames: int, output: OutputFormat
    ) -> Submission:
        with Client(self._address) as client:
            uploads: dict[str, Any] = {name: client.upload(path) for name, path in media.items()}
        choices = RequestChoices(segment_frames=segment_frames)
        return Submission(**uploads, choices=choices, output_format=output)

    @contextmanager
    def watched_by(self, watchers: int) -> Iterator[Watched]:
        """With so many who watch, each with a connection of its own."""
        with ExitStack() as stack:
            client = stack.enter_context(Client(self._address))
            channels = [
                stack.enter_context(
                    grpc.insecure_channel(
                        self._address, options=[("grpc.use_local_subchannel_pool", 1)]
                    )
                )
                for _ in range(watchers)
            ]
            for channel in channels:
                grpc.channel_ready_future(channel).result(60)
            threads = stack.enter_context(ThreadPoolExecutor(max(1, watchers)))
            yield Watched(self, client, channels, threads)

    def read(self) -> tuple[Reading, float]:
        """When nothing runs any more."""
        time.sleep(_SETTLED_S)
        readers = sum(children_ms(child) for child in children_of(self._pid))
        return Reading.of(self._pid, self._counts), readers


class Watched:
    """Does jobs with watchers."""

    def __init__(
        self,
        server: CountedServer,
        client: Client,
        channels: Sequence[grpc.Channel],
        threads: ThreadPoolExecutor,
    ) -> None:
        self._server, self._client, self._threads = server, client, threads
        make: Any = wire_grpc.VideoServiceStub
        self._stubs = [make(channel) for channel in channels]

    def job(self, submission: Submission) -> Job:
        """Submit, watch, Fetch."""
        before, readers_before = self._server.read()
        job_id = self._client.submit(submission)

        def watch(stub: Any) -> int:
            return sum(1 for _ in stub.Watch(wire.WatchRequest(job_id=job_id)))

        events = sum(self._threads.map(watch, self._stubs))
        while not self._client.get(job_id).state.final:  # nobody watches
            time.sleep(0.5)
        fetched = sum(map(len, self._client.fetch_chunks(job_id)))
        assert fetched == self._client.get(job_id).result_nbytes, "the result came whole"
        after, readers = self._server.read()
        return Job(events, after.since(before), readers - readers_before)


def measure_share(bundle: Path, folder: Path, shape: Shape) -> dict[str, Any]:
    """Milliseconds of the processor, by number of watchers: see docs/benchmarks.md."""
    counts = folder / "counts"
    most = (
        "--max-streams",
        str(max(*shape.watchers, *(watchers for watchers, _ in shape.large)) + 8),
    )
    with serving(bundle, folder / "share", *most, "--log-level", "warning", counts=counts) as (
        process,
        address,
    ):
        server = CountedServer(address, process.pid, counts)
        small = server.submission(small_media(folder, FRAMES), 5, OutputFormat.RAW)
        large = server.submission(
            small_media(folder, shape.large_frames, shape.large_height, shape.large_width),
            shape.large_frames,
            OutputFormat.RAW,
        )
        with server.watched_by(1) as watched:  # graphs are loaded, the reader's process is there
            watched.job(_steps(small, 1))
            watched.job(_steps(large, 1))
        small_rows = _small(server, small, shape)
        large_rows = [
            _large(server, replace(large, output_format=output), watchers, shape)
            for watchers, output in shape.large
        ]
    return {
        "small": small_rows,
        "large": large_rows,
    }


def _small(server: CountedServer, submission: Submission, shape: Shape) -> list[dict[str, Any]]:
    """What a step and a job cost, with each number of watchers in turn."""
    jobs: dict[tuple[int, int], list[Job]] = {}
    for _ in range(shape.turns):
        for watchers in shape.watchers:
            with server.watched_by(watchers) as watched:
                for steps in (shape.short, shape.long):
                    done = watched.job(_steps(submission, steps))
                    jobs.setdefault((watchers, steps), []).append(done)
    rows = []
    for watchers in shape.watchers:
        short, long = (jobs[watchers, steps] for steps in (shape.short, shape.long))
        costs = {part: _cost(part, short, long, shape) for part in Part}
        steps = SEGMENTS * shape.long
        rows.append(
            {
                "watchers": watchers,
                "events": sum(job.events for job in (*short, *long)),
                "serving_ms_a_step": round(sum(costs[part][0] for part in SERVING), 3),
                "serving_ms_a_job": round(sum(costs[part][1] for part in SERVING), 2),
                "readers_ms_a_job": round(_mean(job.readers_ms for job in (*short, *long)), 1),
                "denoise_ms_a_step": round(costs[Part.DENOISE][0], 3),
                "share": _share(long),
                "steps_a_job": steps,
                "ms_a_step_by_part": {part.value: round(costs[part][0], 4) for part in Part},
                "ms_a_job_by_part": {part.value: round(costs[part][1], 3) for part in Part},
            }
        )
    return rows


def _large(
    server: CountedServer, submission: Submission, watchers: int, shape: Shape
) -> dict[str, Any]:
    with server.watched_by(watchers) as watched:
        job = watched.job(_steps(submission, shape.large_steps))
    return {
        "watchers": watchers,
        "output": submission.output_format.value,
        "size": f"{shape.large_width}x{shape.large_height}x{shape.large_frames}",
        "steps": shape.large_steps,
        "denoise_ms_a_step": round(job.taken.ms[Part.DENOISE] / shape.large_steps, 1),
        "serving_ms": round(job.serving_ms, 1),
        "readers_ms": round(job.readers_ms, 1),
        "share": _share([job]),
        "ms_by_part": {part.value: round(job.taken.ms[part], 2) for part in Part},
    }


def derive_real(
    small: Sequence[dict[str, Any]], large: dict[str, Any], shape: Shape, fetch_s_a_gb: float
) -> list[dict[str, Any]]:
    """The share of a segment of 77 frames at 832x480 on an H100, by watchers. A step and a job cost
    what they cost in the small job; keeping goes with bytes, reading with frames, as in the large
    one; Fetch takes so much a GB."""
    by_part, size = large["ms_by_part"], (shape.large_height, shape.large_width)
    kept_ms_a_gb = (by_part[Part.KEEPING] + by_part[Part.RESULT]) / _kept_gb(
        shape.large_frames, shape.large_steps, *size
    )
    readers_ms = REAL_FRAMES * large["readers_ms"] / shape.large_frames
    fetch_ms = 1000 * fetch_s_a_gb * _frames_gb(REAL_FRAMES, *REAL_SIZE)
    rows = []
    for row in small:
        shares = {}
        for what, step_s in REAL_STEP_S.items():
            for steps in (20, 4):
                kept_ms = kept_ms_a_gb * _kept_gb(REAL_FRAMES, steps, *REAL_SIZE)
                job_ms = row["serving_ms_a_job"] + readers_ms + kept_ms + fetch_ms
                share = (row["serving_ms_a_step"] + job_ms / steps) / (1000 * step_s)
                shares[f"{steps} steps, {what}"] = round(share, 4)
        rows.append({"watchers": row["watchers"], "share": shares})
    return rows


def _kept_gb(frames: int, steps: int, height: int, width: int) -> float:
    """What is written of a segment: checkpoints with a solver's history, and frames."""
    latents = 16 * ((frames - 1) // 4 + 2) * (height // 8) * (width // 8)
    checkpoint_nbytes = 4 * (4 * latents + 3 * height * width)
    return steps // CHECKPOINT_STEPS * checkpoint_nbytes / 1e9 + _frames_gb(frames, height, width)


def _frames_gb(frames: int, height: int, width: int) -> float:
    return frames * height * width * 3 / 1e9


def _cost(
    part: Part, short: Sequence[Job], long: Sequence[Job], shape: Shape
) -> tuple[float, float]:
    """Milliseconds a step, and a job of no steps: through the means of both lengths."""
    few, many = (_mean(job.taken.ms[part] for job in jobs) for jobs in (short, long))
    a_step = (many - few) / (SEGMENTS * (shape.long - shape.short))
    return a_step, few - a_step * SEGMENTS * shape.short


def _share(jobs: Sequence[Job]) -> float:
    """Of serving against denoising, the readers of media with serving."""
    serving_ms = sum(job.serving_ms + job.readers_ms for job in jobs)
    return round(serving_ms / sum(job.taken.ms[Part.DENOISE] for job in jobs), 4)


def _steps(submission: Submission, steps: int) -> Submission:
    choices = replace(submission.choices, sampling=SamplingChoices(steps=steps))
    return replace(submission, choices=choices)


def _mean(values: Iterable[float]) -> float:
    each = list(values)
    return sum(each) / len(each)
