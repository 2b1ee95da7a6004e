"""What a server knows of the jobs of those before it, and what it does about them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from durable import Life, events_of, other_bundle, write_media
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle, JobState
from wan_trt.engine.errors import (
    BundleError,
    CancelledError,
    DeadlineError,
    InputError,
    MediaError,
)
from wan_trt.server.errors import ConflictError, NotReadyError, UnavailableError
from wan_trt.server.jobs import JobOptions
from wan_trt.server.principal import EVERYBODY
from wan_trt.server.retention import FinishedJob, Retention, jobs_to_forget
from wan_trt.server.store.database import VERSION
from wan_trt.server.store.room import Room
from wan_trt.server.submission import OutputFormat

Begin = Callable[..., Life]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy", high=0.5, low=0.25)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_media(tmp_path_factory.mktemp("media"), frames=7)


@pytest.fixture
def begin(bundle: Bundle, memory_folder: Path) -> Iterator[Begin]:
    """begin(folder="data", **options): the next process; it ends with the test."""
    lives = []

    def make(folder: str = "data", bundle: Bundle = bundle, **options: object) -> Life:
        lives.append(Life(bundle, memory_folder / folder, **options))  # type: ignore[arg-type]
        return lives[-1]

    yield make
    for life in lives:
        life.stop()


def steps(life: Life, count: int) -> None:
    for _ in range(count):
        assert life.engine.step()


@pytest.mark.parametrize("form", [OutputFormat.FLOAT32, OutputFormat.MP4])
def test_a_job_is_the_same_alone_beside_others_and_in_pieces(
    begin: Begin, media: dict[str, Path], form: OutputFormat
) -> None:
    alone = begin("alone")
    alone.submit(media, key="mine", output_format=form)
    alone.run()
    expected = alone.results()["mine"]
    beside = begin("beside")
    for seed in (1, 2):
        beside.submit(media, key=f"other {seed}", seed=seed)
    beside.submit(media, key="mine", output_format=form)
    beside.run()
    assert differences(beside.results()["mine"], expected) == []
    pieces = begin("pieces")
    pieces.submit(media, key="mine", output_format=form)
    for _ in range(4):
        steps(pieces, 2)
        pieces.stop()
        pieces = begin("pieces")
    pieces.run()
    assert differences(pieces.results()["mine"], expected) == []


def differences(found: bytes, expected: bytes) -> list[int]:
    """Where two files differ: their lengths first, then the first few positions."""
    if len(found) != len(expected):
        return [len(found), len(expected)]
    return [at for at, (x, y) in enumerate(zip(found, expected, strict=True)) if x != y][:20]


def test_events_go_on_counting(begin: Begin, media: dict[str, Path]) -> None:
    first = begin()
    record = first.submit(media)
    steps(first, 3)
    seen = list(first.data.store.events(record.job_id))
    first.engine.suspend()
    first.jobs.leave_unfinished(UnavailableError("stopped"))
    watching = record.follow(len(seen), lambda: True)
    assert next(watching).state is JobState.QUEUED
    with pytest.raises(UnavailableError, match="stopped"):
        next(watching)
    first.stop()

    second = begin()
    second.run()
    again = second.jobs.get(record.job_id, EVERYBODY)
    rest = list(again.follow(seen[-1].sequence, lambda: True))
    assert [event.sequence for event in seen + rest] == list(range(1, len(seen + rest) + 1))
    assert [(e.state.value, e.stage, e.segment, e.step) for e in rest[:5]] == [
        ("queued", "", 0, 2),  # left by the first
        ("queued", "", 0, 2),  # taken up by the second
        ("running", "", 0, 2),
        ("running", "decode", 0, 2),
        ("running", "", 1, 0),
    ]
    elapsed_s = [event.elapsed_s for event in seen + rest]
    assert elapsed_s[-1] > seen[-1].elapsed_s
    with pytest.raises(InputError, match="after_sequence"):
        list(again.follow(1000, lambda: True))


def test_finished_jobs_and_their_keys_are_known(begin: Begin, media: dict[str, Path]) -> None:
    first = begin()
    record = first.submit(media, key="shot 1")
    first.run()
    result = record.result().read_bytes()
    first.stop()
    second = begin()
    again = second.submit(media, key="shot 1")
    assert (again.job_id, again.status.state) == (record.job_id, JobState.DONE)
    assert again.result().read_bytes() == result
    assert again.status.result_nbytes == len(result)
    with pytest.raises(ConflictError):
        second.submit(media, key="shot 1", seed=4)
    assert not second.engine.step()


def test_jobs_go_on_in_the_order_of_their_arrival(begin: Begin, media: dict[str, Path]) -> None:
    first = begin()
    records = [first.submit(media, seed=seed) for seed in range(3)]
    steps(first, 1)
    first.stop()
    second = begin()
    second.run()
    finished = [second.jobs.get(record.job_id, EVERYBODY) for record in records]
    ends = {job.job_id: job.finished for job in second.data.store.jobs()}
    times = [ends[record.job_id] for record in finished]
    assert times == sorted(time for time in times if time is not None)


def test_a_job_cancelled_before_the_end_of_the_process_stays_so(
    begin: Begin, media: dict[str, Path]
) -> None:
    first = begin()
    record = first.submit(media)
    steps(first, 2)
    first.data.store.cancel(record.job_id)  # and the process dies before its next step
    first.stop()
    second = begin()
    assert not second.engine.step()
    again = second.jobs.get(record.job_id, EVERYBODY)
    assert again.latest.state is JobState.CANCELLED
    assert isinstance(again.latest.error, CancelledError)
    with pytest.raises(NotReadyError, match="cancelled"):
        again.result()
    assert not second.data.job(record.job_id).path.exists()


def test_another_bundle_ends_a_job_with_one_error(
    begin: Begin, bundle: Bundle, media: dict[str, Path]
) -> None:
    first = begin()
    record = first.submit(media)
    done = first.submit(media, seed=1)
    steps(first, 2)
    first.jobs.cancel(record.job_id, EVERYBODY)
    first.run()
    waiting = first.submit(media)
    first.stop()
    second = begin(bundle=other_bundle(bundle))
    assert not second.engine.step()
    latest = second.jobs.get(waiting.job_id, EVERYBODY).latest
    assert latest.state is JobState.FAILED
    assert isinstance(latest.error, BundleError)
    assert second.jobs.get(done.job_id, EVERYBODY).result().is_file()


@pytest.mark.parametrize("name", ["pose", "reference"])
def test_an_input_that_was_changed_ends_its_job_only(
    begin: Begin, media: dict[str, Path], name: str
) -> None:
    first = begin()
    other = first.submit(media, seed=1)
    record = first.submit(media)
    first.stop()
    (path,) = (
        path
        for path in first.data.job(record.job_id).inputs.iterdir()
        if path.name.startswith(hashlib.sha256(media[name].read_bytes()).hexdigest())
    )
    path.unlink()
    path.write_bytes(b"something else")
    second = begin()
    second.run()
    error = second.jobs.get(record.job_id, EVERYBODY).latest.error
    assert isinstance(error, MediaError)
    assert error.field == name
    assert second.jobs.get(other.job_id, EVERYBODY).latest.state is JobState.DONE


def test_a_checkpoint_that_cannot_be_read_ends_its_job_only(
    begin: Begin, media: dict[str, Path]
) -> None:
    first = begin()
    record = first.submit(media)
    steps(first, 2)
    other = first.submit(media, seed=1)
    first.stop()
    for file in first.data.job(record.job_id).path.glob("checkpoint*"):
        file.write_bytes(b"torn")
    second = begin()
    second.run()
    latest = second.jobs.get(record.job_id, EVERYBODY).latest
    assert latest.state is JobState.FAILED
    assert "cannot be taken up" in str(latest.error)
    assert second.jobs.get(other.job_id, EVERYBODY).latest.state is JobState.DONE


def test_uploads_may_go_while_jobs_use_them(begin: Begin, media: dict[str, Path]) -> None:
    first = begin()
    first.submit(media, key="shot 1")
    for file in first.data.uploads.iterdir():
        file.unlink()
    first.stop()
    second = begin()
    second.run()
    assert second.results()["shot 1"]


def test_what_nobody_accepted_is_removed(begin: Begin, media: dict[str, Path]) -> None:
    first = begin()
    record = first.submit(media)
    steps(first, 4)
    first.stop()
    folder = first.data.job(record.job_id)
    for left in (folder.path / ".result.mp4.1.partial", folder.spool / "0007.frames"):
        left.touch()
    unknown = first.data.job("0" * 32)
    unknown.create()
    second = begin()
    assert not unknown.path.exists()
    names = sorted(path.name for path in folder.path.iterdir())
    assert [name.split(".")[0] for name in names] == ["checkpoint", "inputs", "spool"]
    assert [path.name for path in folder.spool.iterdir()] == ["0000.frames", "0000.latents.npy"]
    second.run()
    assert second.jobs.get(record.job_id, EVERYBODY).latest.state is JobState.DONE
    assert [path.name for path in folder.path.iterdir()] == ["result.safetensors"]


def test_a_folder_of_another_server_or_version_is_refused(
    begin: Begin, media: dict[str, Path]
) -> None:
    first = begin()
    first.submit(media)
    with pytest.raises(InputError, match="data: another server uses"):
        begin()
    first.stop()
    begin().stop()
    with first.data.path.joinpath("jobs.sqlite3").open("r+b") as file:
        file.seek(60)  # the user version
        file.write((99).to_bytes(4, "big"))
    with pytest.raises(
        InputError, match=f"version 99; expected version {VERSION} or one before it"
    ):
        begin()
    first.data.path.joinpath("jobs.sqlite3").write_bytes(b"not a database, whatever it is called")
    with pytest.raises(InputError, match="cannot be used"):
        begin()


def test_a_deadline_holds_across_restarts(begin: Begin, media: dict[str, Path]) -> None:
    first = begin()
    record = first.submit(media, timeout_s=0.2)
    first.stop()
    time.sleep(0.2)
    second = begin()
    assert not second.engine.step()
    latest = second.jobs.get(record.job_id, EVERYBODY).latest
    assert isinstance(latest.error, DeadlineError)
    with pytest.raises(InputError, match="timeout_s"):
        second.submit(media, timeout_s=-1)


@pytest.mark.parametrize("form", list(OutputFormat))
def test_jobs_wait_for_room_on_the_disk(
    begin: Begin, media: dict[str, Path], memory_folder: Path, form: OutputFormat
) -> None:
    """All but a little of the disk is reserved for others, at one moment or the other."""
    undisturbed = begin("calm")
    undisturbed.submit(media, output_format=form, key="mine")
    undisturbed.run()
    everything = 1 << 60
    for moment in range(1, 9):
        room = Room(memory_folder, 0, retry_s=0.0)
        life = begin(f"full at {moment}", room=room)
        record = life.submit(media, output_format=form, key="mine")
        steps(life, moment)
        room.reserve_nbytes = everything
        while record.latest.state not in (JobState.PAUSED, JobState.DONE):
            life.engine.step()
        if record.latest.state is JobState.PAUSED:
            assert "are to stay so" in str(record.latest.error)
            steps(life, 3)
            assert record.latest.state is JobState.PAUSED
            room.reserve_nbytes = 0
        life.run()
        assert life.results() == undisturbed.results(), moment
        states = [state for state, *_ in events_of(life, record)]
        assert states.count("paused") == (moment < 8)


def test_a_paused_job_can_wait_for_the_next_process(
    begin: Begin, media: dict[str, Path], memory_folder: Path
) -> None:
    room = Room(memory_folder, 1 << 60)
    first = begin(room=room)
    record = first.submit(media)
    other = first.submit(media, seed=1)
    first.run()
    assert record.latest.state is other.latest.state is JobState.PAUSED
    first.stop()
    second = begin()
    second.run()
    for job in (record, other):
        assert second.jobs.get(job.job_id, EVERYBODY).latest.state is JobState.DONE


def test_old_work_is_forgotten_but_none_that_somebody_waits_for(
    begin: Begin, media: dict[str, Path]
) -> None:
    options = JobOptions(retention=Retention(age_s=0.05))
    first = begin(options=options)
    fetched, wanted, cancelled = (first.submit(media, seed=seed) for seed in range(3))
    first.jobs.cancel(cancelled.job_id, EVERYBODY)
    first.run()
    first.jobs.mark_fetched(fetched, EVERYBODY)
    unfinished = first.submit(media, seed=4)
    first.stop()
    time.sleep(0.1)
    second = begin(options=options)
    assert {job.job_id for job in second.data.store.jobs()} == {wanted.job_id, unfinished.job_id}
    assert not first.data.job(fetched.job_id).path.exists()
    assert not list(second.data.uploads.iterdir())
    second.run()
    assert second.jobs.get(wanted.job_id, EVERYBODY).result().is_file()


def test_which_jobs_are_forgotten() -> None:
    jobs = [FinishedJob(f"{i}", finished=float(i), nbytes=10, wanted=i == 2) for i in range(6)]

    def forgotten(**limits: float) -> str:
        retention = Retention(**{"age_s": 100.0, **limits})  # type: ignore[arg-type]
        return "".join(sorted(job.job_id for job in jobs_to_forget(jobs, retention, now=6.0)))

    assert forgotten() == ""
    assert forgotten(age_s=2.5) == "013"
    assert forgotten(unfetched_age_s=3.5) == "2"
    assert forgotten(max_jobs=2) == "013"
    assert forgotten(max_nbytes=25) == "013"
    assert forgotten(max_nbytes=0) == "01345"
