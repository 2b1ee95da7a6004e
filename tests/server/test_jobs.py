"""Whole jobs over a socket: what comes out, who may watch, and in which order things happen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from serving import FRAMES, SIZE, MakeSubmission, MediaFiles

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Engine, JobState, Sampling
from wan_trt.media import open_frames, read_image, to_pixels
from wan_trt.server.client import Client
from wan_trt.server.errors import ConflictError
from wan_trt.server.server import Server
from wan_trt.server.submission import OutputFormat


@pytest.fixture(scope="module")
def direct(tiny_bundle: Bundle, media_files: MediaFiles) -> CollectedFrames:
    """The same job without a server."""
    sink = CollectedFrames()
    with Engine(tiny_bundle, threads=1) as engine:
        request = AnimateRequest(
            reference=read_image(media_files.reference),
            pose=open_frames(media_files.pose),
            face=open_frames(media_files.face),
            segment_frames=5,
            sampling=Sampling(steps=2),
            seed=3,
        )
        engine.generate(request, sink)
    return sink


def test_a_job_gives_what_the_engine_gives(
    client: Client, make_submission: MakeSubmission, direct: CollectedFrames, tmp_path: Path
) -> None:
    job_id = client.submit(make_submission(client))
    events = list(client.watch(job_id))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.state for event in events[:2]] == [JobState.QUEUED, JobState.RUNNING]
    assert {event.job_id for event in events} == {job_id}
    done = events[-1]
    assert (done.state, done.frames, done.total_frames) == (JobState.DONE, FRAMES, FRAMES)
    steps = [(event.segment, event.step) for event in events if event.stage == "denoise"]
    assert steps == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert all(event.expert for event in events if event.stage == "denoise")

    out = tmp_path / "out.safetensors"
    client.fetch(job_id, out)
    result = load_file(out)
    np.testing.assert_array_equal(result["frames"], direct.frames)
    for segment, latents in direct.latents.items():
        np.testing.assert_array_equal(result[f"latents.{segment}"], latents)
    assert client.get(job_id).result_nbytes == out.stat().st_size
    assert [path.name for path in tmp_path.glob("out*")] == ["out.safetensors"]


def test_results_as_pixels_and_as_a_video(
    client: Client, make_submission: MakeSubmission, direct: CollectedFrames, tmp_path: Path
) -> None:
    jobs = {
        kind: client.submit(make_submission(client, output_format=kind))
        for kind in (OutputFormat.UINT8, OutputFormat.MP4)
    }
    for kind, job_id in jobs.items():
        client.wait(job_id)
        client.fetch(job_id, tmp_path / f"out{kind.suffix}")
    pixels = load_file(tmp_path / "out.safetensors")["frames"]
    np.testing.assert_array_equal(pixels, to_pixels(direct.frames))
    video = open_frames(tmp_path / "out.mp4")
    assert (video.count, video.height, video.width) == (FRAMES, *SIZE)
    video.close()


def test_two_clients_share_one_server(server: Server, make_submission: MakeSubmission) -> None:
    def run(seed: int) -> bytes:
        with Client(str(server.address)) as client:
            job_id = client.submit(make_submission(client, seed=seed))
            client.wait(job_id)
            return b"".join(client.fetch_chunks(job_id))

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(run, (1, 2), timeout=120)
    assert first != second
    assert run(1) == first


def test_a_short_job_does_not_wait_for_a_long_one(
    client: Client, make_submission: MakeSubmission
) -> None:
    long = client.submit(make_submission(client, steps=1000))
    next(event for event in client.watch(long) if event.stage == "denoise")
    assert client.wait(client.submit(make_submission(client, seed=4))).state is JobState.DONE
    assert client.get(long).state is JobState.RUNNING
    client.cancel(long)


def test_a_watcher_resumes_where_it_stopped(
    client: Client, make_submission: MakeSubmission
) -> None:
    job_id = client.submit(make_submission(client, steps=5))
    watching = client.watch(job_id)
    seen = [next(watching) for _ in range(4)]
    watching.close()  # type: ignore[attr-defined]
    rest = list(client.watch(job_id, seen[-1].sequence))
    assert [event.sequence for event in rest] == list(range(5, 5 + len(rest)))
    assert rest[-1].state is JobState.DONE
    assert list(client.watch(job_id)) == seen + rest
    assert list(client.watch(job_id, rest[-1].sequence)) == []
    assert client.wait(job_id, after_sequence=rest[-1].sequence) == rest[-1]


def test_a_fetch_resumes_at_any_offset(client: Client, make_submission: MakeSubmission) -> None:
    job_id = client.submit(make_submission(client))
    client.wait(job_id)
    whole = b"".join(client.fetch_chunks(job_id))
    assert b"".join(client.fetch_chunks(job_id, 1000)) == whole[1000:]
    assert list(client.fetch_chunks(job_id, len(whole))) == []


def test_submitting_again_with_a_key_returns_the_same_job(
    client: Client, make_submission: MakeSubmission
) -> None:
    submission = make_submission(client, idempotency_key="shot 12, take 3")
    job_id = client.submit(submission)
    assert client.submit(submission) == job_id
    with pytest.raises(ConflictError):
        client.submit(make_submission(client, idempotency_key="shot 12, take 3", seed=99))
    client.wait(job_id)


def test_an_image_sequence_is_sent_as_one_file(
    client: Client, make_submission: MakeSubmission, media_files: MediaFiles, tmp_path: Path
) -> None:
    for index, frame in enumerate(load_file(media_files.pose)["frames"]):
        Image.fromarray(frame).save(tmp_path / f"pose.{index:04d}.png")
    pose = client.upload(tmp_path / "pose.%04d.png")
    ours, theirs = (
        client.submit(submission)
        for submission in (make_submission(client), make_submission(client, pose=pose))
    )
    for job_id in (ours, theirs):
        client.wait(job_id)
    assert b"".join(client.fetch_chunks(ours)) == b"".join(client.fetch_chunks(theirs))
