"""Runs jobs on a bundle and on what it is compared with, and measures how far they are apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from wan_trt.calibration.gate.job import GateJob
from wan_trt.calibration.gate.measurement import FrameErrors, LatentError, Measurement, ShownFrame
from wan_trt.calibration.gate.metrics import (
    colour_drift,
    cosine,
    psnr,
    relative_error,
    ssim,
    temporal_ratio,
)
from wan_trt.calibration.gate.recording import Recording
from wan_trt.calibration.gate.velocities import velocity_errors
from wan_trt.calibration.gate.video_file import VideoFile
from wan_trt.engine.bundle import Bundle, sha256_file
from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import ExecutionError, InputError
from wan_trt.engine.manifest import SHARED
from wan_trt.engine.ort import load_executor
from wan_trt.engine.reporting import OnEvent
from wan_trt.engine.request import Event
from wan_trt.engine.validation import validate_request
from wan_trt.media import open_sink, to_pixels

SHOWN_FRAMES = 4

Perceptual = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
"""A distance of frames [T, H, W, 3] in [-1, 1]: LPIPS."""


def measure(
    bundle: Bundle,
    against: Bundle | Path,
    jobs: Sequence[GateJob],
    *,
    threads: int | None = None,
    lpips: Perceptual | None = None,
    on_event: OnEvent | None = None,
) -> Measurement:
    """Run the jobs, one or more, on `bundle`, and on `against` unless that is the file of a result.

    Recorded tensors and results lie in the system's folder for temporary files (TMPDIR) meanwhile.
    Raises InputError for what cannot be compared and whatever the reference's run raises.
    """
    require_measurable(bundle, against, jobs)
    whole = Measurement(
        against=str(against.path if isinstance(against, Bundle) else against),
        against_digest=_digest(against),
        jobs={job.name: job.describe() for job in jobs},
        notes=tuple(dict.fromkeys(note for job in jobs for note in _notes(against, job))),
    )
    for job in jobs:
        whole = _with_job(whole, bundle, against, job, threads, lpips, on_event)
        if whole.failure is not None:
            break
    return whole


def require_measurable(bundle: Bundle, against: Bundle | Path, jobs: Sequence[GateJob]) -> None:
    """Raise InputError where the two cannot be compared by these jobs. Of `bundle` nothing is read
    but the manifest."""
    for job in jobs:
        validate_request(job.request, bundle.manifest)
    if isinstance(against, Bundle):
        _require_comparable(bundle, against)
    else:
        _require_result_of(against, jobs)


def _with_job(
    measured: Measurement,
    bundle: Bundle,
    against: Bundle | Path,
    job: GateJob,
    threads: int | None,
    lpips: Perceptual | None,
    on_event: OnEvent | None,
) -> Measurement:
    """`measured` and what one more job adds to it."""
    with TemporaryDirectory(prefix="wan-trt-gate-") as temporary:
        folder = Path(temporary)
        run = partial(_run, job=job, threads=threads, on_event=on_event)
        if isinstance(against, Bundle):
            recording = Recording(folder, against.manifest.boundary)
            reference = folder / "reference.safetensors"
            run(against, reference, recording=recording)
            _require_all_experts(against, recording, job)
            load = partial(load_executor, threads=threads)
            errors = velocity_errors(recording, against, bundle, load)
            named = (replace(error, sample=job.sample) for error in errors)
            measured = replace(measured, velocities=(*measured.velocities, *named))
        else:
            reference = against
        candidate = folder / "candidate.safetensors"
        try:
            run(bundle, candidate)
        except ExecutionError as error:
            return replace(measured, failure=str(error))
        return _compared(measured, reference, candidate, job, lpips)


def _run(
    bundle: Bundle,
    out: Path,
    *,
    job: GateJob,
    threads: int | None,
    on_event: OnEvent | None,
    recording: Recording | None = None,
) -> None:
    def watch(event: Event) -> None:
        if recording is not None:
            recording.watch(event)
        if on_event is not None:
            on_event(event)

    load = recording.loader(partial(load_executor, threads=threads)) if recording else None
    request = job.request
    with Engine(bundle, threads, load) as engine:
        engine.generate(
            request,
            lambda: open_sink(
                out, height=request.height, width=request.width, frame_count=request.frame_count
            ),
            watch,
        )


def _compared(
    measured: Measurement,
    reference_path: Path,
    candidate_path: Path,
    job: GateJob,
    lpips: Perceptual | None,
) -> Measurement:
    reference, candidate = VideoFile(reference_path, "against"), VideoFile(candidate_path)
    try:
        return replace(
            measured,
            latents=(*measured.latents, *_latent_errors(reference, candidate, job.sample)),
            frames=(*measured.frames, *_frame_errors(reference, candidate, job, lpips)),
            shown=(*measured.shown, *_shown(reference, candidate, job)),
        )
    finally:
        reference.close()
        candidate.close()


def _latent_errors(
    reference: VideoFile, candidate: VideoFile, sample: str
) -> Iterator[LatentError]:
    if reference.segments:  # frames alone are a reference too
        reference.require_latents(candidate)
    for segment in reference.segments:
        first, second = reference.latents(segment), candidate.latents(segment)
        yield LatentError(segment, cosine(first, second), relative_error(first, second), sample)


def _frame_errors(
    reference: VideoFile, candidate: VideoFile, job: GateJob, lpips: Perceptual | None
) -> Iterator[FrameErrors]:
    for start, stop in job.cuts:
        before = min(start, 1)
        first, second = (video.frames(start - before, stop) for video in (reference, candidate))
        ratio = temporal_ratio(first, second)
        first, second = first[before:], second[before:]
        yield FrameErrors(
            start,
            stop,
            psnr(first, second),
            ssim(first, second),
            colour_drift(first, second),
            ratio,
            lpips(first, second) if lpips else None,
            job.sample,
        )


def _shown(reference: VideoFile, candidate: VideoFile, job: GateJob) -> Iterator[ShownFrame]:
    last = job.request.frame_count - 1
    for index in sorted({int(i) for i in np.linspace(0, last, SHOWN_FRAMES).round()}):
        first, second = (video.frames(index, index + 1)[0] for video in (reference, candidate))
        yield ShownFrame(index, to_pixels(first), to_pixels(second), job.sample)


def _notes(against: Bundle | Path, job: GateJob) -> tuple[str, ...]:
    notes = []
    if not isinstance(against, Bundle):
        notes.append("velocities were not compared: the reference is a file, not a bundle")
    if job.request.segment_frames == job.request.frame_count:
        notes.append(f"one segment: its frames were judged in {len(job.cuts)} parts")
    return tuple(notes)


def _digest(against: Bundle | Path) -> str:
    if isinstance(against, Path):
        return sha256_file(against)
    ungated = replace(against.manifest, gate=None).to_json()
    return hashlib.sha256(ungated.encode()).hexdigest()


def _require_comparable(bundle: Bundle, against: Bundle) -> None:
    mine, other = bundle.manifest, against.manifest
    for what, given, expected in (
        ("model", other.model, mine.model),
        ("geometry", other.geometry, mine.geometry),
        ("boundary", other.boundary, mine.boundary),
    ):
        if given != expected:
            raise InputError(
                f"{against.path} has the {what} {given}",
                expected=f"{expected} as {bundle.path}",
                action="compare bundles of one model",
                field="against",
            )


def _require_all_experts(against: Bundle, recording: Recording, job: GateJob) -> None:
    """A gate that has not seen an expert must not judge it."""
    seen = {launch.expert.value for launch in recording.launches}
    graphs = against.manifest.graphs.values()
    sets = {weight_set for graph in graphs for weight_set in graph.weights} - {SHARED}
    if missing := sorted(sets - seen):
        raise InputError(
            f"the {job.request.sampling.steps} of the job {job.name!r} never run the "
            f"{missing[0]}-noise expert",
            expected="steps on both sides of the boundary",
            action="ask for more steps",
            field="steps",
        )


def _require_result_of(reference: Path, jobs: Sequence[GateJob]) -> None:
    """Raise InputError unless the file can be the result of the only job."""
    if len(jobs) != 1:
        raise InputError(
            f"{reference} is the result of one job, and there are {len(jobs)} samples",
            expected="a bundle, which can be run on all of them",
            action="give a bundle, or a folder with that sample alone",
            field="against",
        )
    video = VideoFile(reference, "against")
    try:
        video.require(jobs[0].request)
    finally:
        video.close()
