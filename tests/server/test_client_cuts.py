"""Both clients behind connections that are cut: every call goes on, and nothing comes twice."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cutting_proxy import CuttingProxy, cutting_proxy
from serving import MakeSubmission
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle, Event, JobState
from wan_trt.engine.errors import CancelledError, DeadlineError, MediaError, NotFoundError
from wan_trt.server.client import (
    AsyncClient,
    Client,
    OutputFormat,
    PreviewChoice,
    PreviewEvent,
    Retries,
)
from wan_trt.server.errors import NotReadyError, UnavailableError
from wan_trt.server.server import Server

CONTENT = np.random.default_rng(5).bytes(3 << 20)


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: what the frames show is of no matter here."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def proxy(server: Server) -> Iterator[CuttingProxy]:
    with cutting_proxy(server.address.host, server.address.port) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: CuttingProxy) -> Iterator[Client]:
    with Client(f"127.0.0.1:{proxy.port}", 60) as client:
        yield client


@pytest.fixture
def large(tmp_path: Path) -> Path:
    file = tmp_path / "large.png"
    file.write_bytes(CONTENT)
    return file


def test_an_upload_goes_on(far: Client, proxy: CuttingProxy, large: Path, tmp_path: Path) -> None:
    begun: list[int] = []

    def show(done: int, total: int) -> None:
        assert done <= total == len(CONTENT)
        if begun and done <= begun[-1]:
            return
        begun.append(done)
        if proxy.cuts == len(begun) - 1 < 2:
            proxy.cut_after(1 << 19)  # of what comes now

    upload_id = far.upload(large, on_progress=show)
    assert proxy.cuts >= 1
    (stored,) = tmp_path.glob("data*/uploads/*")
    assert stored.name == upload_id
    assert stored.read_bytes() == CONTENT
    shown = len(begun)
    assert far.upload(large, on_progress=show) == upload_id
    assert len(begun) == shown, "it was there, and is not sent again"


def test_a_wrong_beginning_is_sent_again(
    far: Client, proxy: CuttingProxy, client: Client, large: Path, tmp_path: Path
) -> None:
    begun: list[Path] = []
    with Client(far.target, 60, retries=Retries(0)) as hurried:
        for _ in range(20):  # a connection that breaks may take with it what was sent
            proxy.cut_after(5 << 19)
            with pytest.raises(UnavailableError):
                hurried.upload(large)
            time.sleep(0.2)  # the server gets it in its own time
            if begun := list(tmp_path.glob("data*/uploads/.*.partial")):
                break
    assert begun, "nothing ever arrives"
    begun[0].write_bytes(bytes(begun[0].stat().st_size or 1000))
    assert client.upload(large).startswith(hashlib.sha256(CONTENT).hexdigest())


def test_watching_goes_on_from_the_last_event(
    far: Client, proxy: CuttingProxy, make_submission: MakeSubmission
) -> None:
    job_id = far.submit(make_submission(far, steps=100))
    seen: list[Event] = []

    def see(event: Event) -> None:
        seen.append(event)
        if event.sequence in (1, 20):
            proxy.cut_after(1500)

    assert far.wait(job_id, see).state is JobState.DONE
    assert proxy.cuts >= 1
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))


def test_a_submission_whose_answer_is_lost_makes_one_job(
    far: Client, client: Client, proxy: CuttingProxy, make_submission: MakeSubmission
) -> None:
    submission = make_submission(far)
    outages: list[float] = []
    for nbytes in (50, 400, 600, 800):  # before the server has it all, and behind
        before = {job.job_id for job in client.list_jobs()}
        cuts = proxy.cuts
        with Client(far.target, 60, on_outage=lambda _, left_s: outages.append(left_s)) as one:
            proxy.cut_after(nbytes)
            job_id = one.submit(submission)
        assert {job.job_id for job in client.list_jobs()} == before | {job_id}
        if proxy.cuts == cuts:
            proxy.cut_after(1 << 30)
    assert outages, "some of them were cut"
    assert all(0 < left_s <= 30 for left_s in outages)


def test_a_fetch_goes_on_also_in_another_process(
    far: Client,
    client: Client,
    proxy: CuttingProxy,
    make_submission: MakeSubmission,
    tmp_path: Path,
) -> None:
    job_id = client.submit(make_submission(client, output_format=OutputFormat.RAW))
    out = tmp_path / "out.rgb"
    part = tmp_path / f"out.rgb.{job_id}.part"
    client.wait(job_id)
    whole = b"".join(client.fetch_chunks(job_id))

    proxy.cut_after(len(whole) // 2)
    far.fetch(job_id, out)
    assert proxy.cuts == 1
    assert out.read_bytes() == whole
    assert not part.exists()

    for there in (whole[:1000], whole[:500] + bytes(500), whole + b"more"):
        out.unlink()
        part.write_bytes(there)  # as a fetch left it that was killed; or a crash of the machine
        far.fetch(job_id, out)
        assert out.read_bytes() == whole
        assert not part.exists()


def test_what_is_kept_of_a_fetch(
    client: Client, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    long = client.submit(make_submission(client, steps=1000))
    with pytest.raises(NotReadyError):
        client.fetch(long, tmp_path / "long.safetensors")
    assert not list(tmp_path.glob("long*")), "there is nothing to keep"
    part = tmp_path / f"taken.safetensors.{long}.part"
    with part.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(MediaError, match="another process is fetching"):
            client.fetch(long, tmp_path / "taken.safetensors")
    client.cancel(long)


def test_the_asynchronous_client_does_the_same(
    proxy: CuttingProxy,
    client: Client,
    large: Path,
    make_submission: MakeSubmission,
    tmp_path: Path,
) -> None:
    submission = make_submission(client, steps=30, output_format=OutputFormat.RAW)

    async def walk() -> str:
        async with AsyncClient(f"127.0.0.1:{proxy.port}", 60) as far:
            await far.require_serving()
            proxy.cut_after(1 << 20)
            assert await far.upload(large) == client.upload(large)
            assert proxy.cuts == 1
            job_id, other = await asyncio.gather(
                far.submit(submission), far.submit(dataclasses.replace(submission, title="b"))
            )
            sequences = []
            proxy.cut_after(2000)
            async for event in far.watch(job_id):
                sequences.append(event.sequence)
            assert proxy.cuts == 2
            assert sequences == list(range(1, len(sequences) + 1))
            assert (await far.wait(other)).state is JobState.DONE
            assert {job.job_id async for job in far.list_jobs()} == {job_id, other}
            nbytes = (await far.get(job_id)).result_nbytes
            proxy.cut_after(nbytes // 2)
            await far.fetch(job_id, tmp_path / "out.rgb")
            assert proxy.cuts == 3
            chunks = [chunk async for chunk in far.fetch_chunks(job_id)]
            assert b"".join(chunks) == (tmp_path / "out.rgb").read_bytes()
            with pytest.raises(NotFoundError, match="no job"):
                await far.get("nobody")
            return job_id

    job_id = asyncio.run(walk())
    assert b"".join(client.fetch_chunks(job_id)) == (tmp_path / "out.rgb").read_bytes()


def test_a_cancelled_task_ends_its_call(
    server: Server, client: Client, make_submission: MakeSubmission
) -> None:
    job_id = client.submit(make_submission(client, steps=1000))

    async def give_up() -> None:
        async with AsyncClient(str(server.address)) as far:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await far.wait(job_id)
            assert (await far.cancel(job_id)).job_id == job_id

    asyncio.run(give_up())


def test_a_video_in_one_call_is_whole_when_its_content_is_cut(
    far: Client,
    proxy: CuttingProxy,
    client: Client,
    make_submission: MakeSubmission,
    tmp_path: Path,
) -> None:
    states: list[JobState] = []

    def cut_at_the_end(event: Event) -> None:
        states.append(event.state)
        if event.state.final:
            proxy.cut_after(1)

    submission = make_submission(client, steps=2)
    far.generate(submission, tmp_path / "out.mp4", on_event=cut_at_the_end)
    assert states[-1] is JobState.DONE
    (job,) = client.list_jobs()
    assert (tmp_path / "out.mp4").read_bytes() == b"".join(client.fetch_chunks(job.job_id))
    assert list(tmp_path.glob("*.part")) == []


def test_a_job_in_one_call_ends_with_it(
    far: Client,
    proxy: CuttingProxy,
    client: Client,
    make_submission: MakeSubmission,
    tmp_path: Path,
) -> None:
    long = make_submission(client, steps=1000)
    with pytest.raises(UnavailableError, match="ended with its call"):
        far.generate(long, tmp_path / "out.mp4", on_event=lambda _: proxy.cut_after(1))
    with pytest.raises(DeadlineError, match=r"within 1 s|the time that it was given"):
        client.generate(long, tmp_path / "out.mp4", timeout_s=1.0)

    async def leave() -> None:
        async with AsyncClient(far.target) as impatient:
            async with asyncio.timeout(1):
                await impatient.generate(long, tmp_path / "out.mp4")

    with pytest.raises(TimeoutError):
        asyncio.run(leave())
    jobs = list(client.list_jobs())
    assert len(jobs) == 3
    for job in jobs:
        with pytest.raises((CancelledError, DeadlineError)):
            client.wait(job.job_id)
    assert list(tmp_path.glob("out.mp4*")) == []


def test_a_video_in_one_asynchronous_call(
    client: Client, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    seen: list[Event] = []

    async def generate() -> None:
        async with AsyncClient(client.target) as there:
            await there.generate(
                make_submission(client, steps=2),
                tmp_path / "out.mp4",
                on_event=seen.append,
                previews=PreviewChoice(),
            )

    asyncio.run(generate())
    assert any(isinstance(event, PreviewEvent) for event in seen)
    (job,) = client.list_jobs()
    assert (tmp_path / "out.mp4").read_bytes() == b"".join(client.fetch_chunks(job.job_id))
