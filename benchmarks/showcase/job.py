"""One job over gRPC, with a progress bar, and how long its stages took."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from showcase.inputs import Inputs
from wan_trt.cli.progress import ProgressLine
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.request import Event
from wan_trt.server.client import Client
from wan_trt.server.submission import Submission


@dataclass
class StageTimes:
    """Sums by stage, from the job's events: seconds, runs, and the server's peak memory."""

    peak_nbytes: Callable[[], int]
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    runs: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    peaks: dict[str, int] = field(default_factory=dict)
    _elapsed_s: float = 0.0

    def count(self, event: Event) -> None:
        if event.stage:
            self.seconds[event.stage] += event.elapsed_s - self._elapsed_s
            self.runs[event.stage] += 1
            self.peaks[event.stage] = self.peak_nbytes()
        self._elapsed_s = event.elapsed_s


def make_video(
    address: str,
    inputs: Inputs,
    out: Path,
    sampling: SamplingChoices,
    segment_frames: int,
    peak_nbytes: Callable[[], int],
) -> StageTimes:
    """Upload, submit, watch to the end and fetch the video to `out`."""
    times = StageTimes(peak_nbytes)
    progress = ProgressLine(sys.stdout)

    def show(event: Event) -> None:
        times.count(event)
        progress.show(event)

    with Client(address) as client:
        started = time.perf_counter()
        submission = Submission(
            reference=client.upload(inputs.reference),
            pose=client.upload(inputs.pose),
            face=client.upload(inputs.face),
            choices=RequestChoices(sampling=sampling, segment_frames=segment_frames),
        )
        job_id = client.submit(submission)
        print(f"job {job_id} submitted over gRPC in {time.perf_counter() - started:.1f} s")
        client.wait(job_id, show)
        client.fetch(job_id, out)
    return times
