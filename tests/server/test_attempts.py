"""A job that kills every process that works on it is not taken up for ever."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deadly_job import DEADLY, deadly, kill_at_the_deadly_step
from durable import Life, write_media
from server_processes import TIMEOUT_S, DiedAtTheStartError, address_of, server_process
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle, JobState
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import ExecutionError
from wan_trt.engine.job import Job
from wan_trt.engine.scheduling.unit import Unit
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.server.client import Client, Retries
from wan_trt.server.errors import UnavailableError
from wan_trt.server.jobs import JobOptions
from wan_trt.server.principal import EVERYBODY
from wan_trt.server.submission import OutputFormat, Submission

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the dead close nothing


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy", high=0.5, low=0.25)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_media(tmp_path_factory.mktemp("media"), frames=7)


def test_a_job_that_kills_each_server_ends_and_its_neighbours_do_not_notice(
    bundle: Bundle, media: dict[str, Path], memory_folder: Path
) -> None:
    folder, options = memory_folder / "data", ("--policy", "fifo", "--attempts", "2")
    jobs: dict[int, str] = {}
    died = 0
    states: dict[int, JobState] = {}
    while not states:
        with server_process(bundle.path, folder, *options, change=kill_at_the_deadly_step) as (
            _,
            stdout,
        ):
            try:
                with Client(address_of(stdout), TIMEOUT_S, retries=Retries(0)) as client:
                    if not jobs:
                        jobs = {s: client.submit(asked(client, media, s)) for s in (1, DEADLY, 2)}
                        client.cancel(jobs[1])  # it kept the server busy until all were there
                    list(client.watch(jobs[2]))
                    states = {seed: client.get(job_id).state for seed, job_id in jobs.items()}
                    with pytest.raises(ExecutionError, match="2 times in a row without a check"):
                        client.wait(jobs[DEADLY])
            except (DiedAtTheStartError, UnavailableError):
                died += 1
                assert died < 10
    assert died == 2
    assert states == {1: JobState.CANCELLED, DEADLY: JobState.FAILED, 2: JobState.DONE}


def asked(client: Client, media: dict[str, Path], seed: int) -> Submission:
    uploads: dict[str, Any] = {name: client.upload(path) for name, path in media.items()}
    sampling = SamplingChoices(steps=1000 if seed == 1 else 4)
    choices = RequestChoices(seed=seed, segment_frames=5, sampling=sampling)
    return Submission(**uploads, choices=choices, output_format=OutputFormat.UINT8)


class DiedError(BaseException):
    """No `except Exception` survives a SIGKILL."""


Die = Callable[[Callable[[Unit, Job], bool]], None]


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Die:
    """die(when): from now on units of which `when(unit, job)` is true end the process."""
    survived = Pipeline.run

    def make(when: Callable[[Unit, Job], bool]) -> None:
        def run(pipeline: Pipeline, unit: Unit, job: Job) -> None:
            if when(unit, job):
                raise DiedError
            survived(pipeline, unit, job)

        monkeypatch.setattr(Pipeline, "run", run)

    return make


@pytest.fixture
def begin(bundle: Bundle, memory_folder: Path) -> Iterator[Callable[[], Life]]:
    """begin(): the next process, which takes up what is there. A job is tried twice."""
    options = JobOptions(checkpoint_steps=1, attempts=2, encode_beside=False)
    yield lambda: Life(bundle, memory_folder / "data", options)
    gc.collect()  # what the dead have left open


def run_until_it_dies(life: Life) -> None:
    with pytest.raises(DiedError):
        life.run()
    life.data.close()


def test_only_the_job_at_work_is_blamed(
    begin: Callable[[], Life], media: dict[str, Path], die: Die
) -> None:
    die(deadly)
    life = begin()
    life.submit(media, steps=4, key="began", seed=1)
    assert life.engine.step()
    life.submit(media, steps=2, key="deadly", seed=DEADLY)  # shorter, so it goes first
    life.submit(media, steps=4, key="waits", seed=2)
    run_until_it_dies(life)
    life = begin()
    deaths = {job.idempotency_key: job.deaths for job in life.data.store.jobs()}
    assert deaths == {"began": 0, "deadly": 1, "waits": 0}
    run_until_it_dies(life)
    life = begin()
    life.run()
    states = {
        job.idempotency_key: life.jobs.get(job.job_id, EVERYBODY).latest.state
        for job in life.data.store.jobs()
    }
    assert states == {"began": JobState.DONE, "deadly": JobState.FAILED, "waits": JobState.DONE}
    life.stop()


def test_a_job_that_gets_on_may_die_as_often_as_it_likes(
    begin: Callable[[], Life], media: dict[str, Path], die: Die
) -> None:
    seen = set()

    def for_the_first_time(unit: Unit, _job: Job) -> bool:
        if unit.step is None or unit in seen:
            return False
        seen.add(unit)
        return True

    die(for_the_first_time)
    life = begin()
    record = life.submit(media, steps=4)
    for _ in range(8):  # steps of both segments
        run_until_it_dies(life)
        life = begin()
        assert [job.deaths for job in life.data.store.jobs()] == [1]
    life.run()
    assert life.jobs.get(record.job_id, EVERYBODY).latest.state is JobState.DONE
    life.stop()


def test_a_server_that_was_stopped_blames_nobody(
    begin: Callable[[], Life], media: dict[str, Path], die: Die
) -> None:
    die(deadly)
    for _ in range(3):
        life = begin()
        if not life.data.store.jobs():
            life.submit(media, steps=2, seed=DEADLY)
        run_until_it_dies(life)
        life = begin()
        life.engine.suspend()
        life.jobs.end_well()
        life.data.close()
    life = begin()
    assert life.data.store.jobs()[0].deaths == 0
    life.stop()
