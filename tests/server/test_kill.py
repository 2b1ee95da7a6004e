"""A real server that is killed again and again, at any moment: nothing is lost or done twice."""

from __future__ import annotations

import io
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import av
from durable import SIZE, write_media
from server_processes import TIMEOUT_S, address_of, server_process
from sounding_video import RATE, tone, write_sounding_video
from toy_bundle import write_toy_bundle

from wan_trt.engine import JobState
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.server.client import Client
from wan_trt.server.submission import OutputFormat, Submission

KILLS = 50
JOBS = 7
FRAMES = 21


def events_in(data: Path) -> int:
    """Events that are committed, as another process sees them."""
    with sqlite3.connect(f"file:{data / 'jobs.sqlite3'}?mode=ro", uri=True) as connection:
        number: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    connection.close()
    return number


def submissions(client: Client, media: dict[str, Path]) -> list[Submission]:
    """Jobs of five segments, in all formats."""
    uploads: dict[str, Any] = {name: client.upload(path) for name, path in media.items()}
    return [
        Submission(
            **uploads,
            choices=RequestChoices(
                seed=number, segment_frames=5, sampling=SamplingChoices(steps=4)
            ),
            output_format=list(OutputFormat)[number % 3],
            idempotency_key=f"shot {number}",
        )
        for number in range(JOBS)
    ]


def results_of(address: str, media: dict[str, Path]) -> list[bytes]:
    """Submit all jobs, again where they are known, and fetch what they come to."""
    with Client(address, timeout_s=TIMEOUT_S) as client:
        jobs = [client.submit(submission) for submission in submissions(client, media)]
        assert len(set(jobs)) == len(jobs)
        results = []
        for job_id in jobs:
            assert client.wait(job_id).state is JobState.DONE
            events = list(client.watch(job_id))
            assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            assert [event.state.final for event in events].count(True) == 1
            assert events[-1].frames == events[-1].total_frames == FRAMES
            results.append(b"".join(client.fetch_chunks(job_id)))
    return results


def test_fifty_kills_change_no_byte(memory_folder: Path) -> None:
    generator = random.Random(50)
    bundle = write_toy_bundle(memory_folder / "bundle", high=0.5, low=0.25).path
    media = write_media(memory_folder, frames=FRAMES)
    with server_process(bundle, memory_folder / "calm") as (_, stdout):
        undisturbed = results_of(address_of(stdout), media)
    assert len(set(undisturbed)) == len(undisturbed)

    data = memory_folder / "hard"
    answered = False
    at_work = 0
    for _ in range(KILLS):
        with server_process(bundle, data, "--attempts", str(KILLS)) as (process, stdout):
            if generator.random() < 0.1:
                time.sleep(generator.uniform(0, 0.3))  # while it starts
                continue
            address = address_of(stdout)
            if not answered:
                with Client(address, timeout_s=TIMEOUT_S) as client:
                    for submission in submissions(client, media):
                        client.submit(submission)
                answered = True
            wanted = events_in(data) + generator.randint(1, 6)
            until = time.monotonic() + 10
            while events_in(data) < wanted and time.monotonic() < until:
                time.sleep(0.001)
            time.sleep(generator.uniform(0, 0.004))
            at_work += process.is_alive() and events_in(data) >= wanted
    with server_process(bundle, data, "--attempts", str(KILLS)) as (_, stdout):
        address = address_of(stdout)
        with Client(address) as client:
            states = [client.get(folder.name).state for folder in (data / "jobs").iterdir()]
        assert results_of(address, media) == undisturbed
    assert len(states) == JOBS
    assert JobState.DONE in states, "some jobs were over before the last kill"
    assert not all(state.final for state in states), "and some were not"
    assert at_work >= KILLS * 0.8


def test_a_job_that_goes_on_opens_its_sound_anew(memory_folder: Path) -> None:
    bundle = write_toy_bundle(memory_folder / "bundle", high=0.5, low=0.25).path
    media = write_media(memory_folder, frames=FRAMES)
    pose = memory_folder / "pose.mkv"
    media["pose"] = write_sounding_video(pose, FRAMES, SIZE, "pcm_f32le", tone(2.0))

    def submit(client: Client) -> str:
        uploads: dict[str, Any] = {name: client.upload(path) for name, path in media.items()}
        choices = RequestChoices(seed=1, segment_frames=5, sampling=SamplingChoices(steps=4))
        return client.submit(Submission(**uploads, choices=choices, output_format=OutputFormat.MP4))

    results = []
    with (
        server_process(bundle, memory_folder / "calm") as (_, stdout),
        Client(address_of(stdout), timeout_s=TIMEOUT_S) as client,
    ):
        job_id = submit(client)
        assert client.wait(job_id).state is JobState.DONE
        results.append(b"".join(client.fetch_chunks(job_id)))
    with (
        server_process(bundle, memory_folder / "hard") as (_, stdout),
        Client(address_of(stdout), timeout_s=TIMEOUT_S) as client,
    ):
        job_id = submit(client)
        next(event for event in client.watch(job_id) if event.frames)  # a segment is written
    with (
        server_process(bundle, memory_folder / "hard") as (_, stdout),
        Client(address_of(stdout), timeout_s=TIMEOUT_S) as client,
    ):
        assert client.wait(job_id).state is JobState.DONE
        results.append(b"".join(client.fetch_chunks(job_id)))
    assert results[0] == results[1]
    with av.open(io.BytesIO(results[1]), "r") as container:
        (sound,) = container.streams.audio
        assert sum(frame.samples for frame in container.decode(sound)) > FRAMES / 24 * RATE * 0.8
