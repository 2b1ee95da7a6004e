"""More jobs under way than memory holds: some are put aside, and all end as if they were alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from toy_jobs import MakeBundle, MakeRequest, Sink

from wan_trt.engine import Bundle, Engine
from wan_trt.engine.backend import Backend
from wan_trt.engine.crowding import CrowdedError
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.job import Job
from wan_trt.engine.memory.layout import Layout, TensorShape
from wan_trt.engine.memory.pages import PAGE_NBYTES
from wan_trt.engine.memory.tensors import Holding
from wan_trt.engine.request import JobState, Request
from wan_trt.engine.residence import Residence
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.engine.validation import validate_request

OpenBackend = Callable[[], Backend]
ENOUGH = 100
FOR_ONE = 3  # a job, and a clip and a call of a graph beside it


@pytest.fixture(params=["host", "made-up GPU"])
def open_backend(request: pytest.FixtureRequest, tmp_path: Path) -> OpenBackend:
    return HostBackend if request.param == "host" else MadeUpGpu(tmp_path).backend


class Turns:
    """Jobs of one pipeline, run unit by unit in the order that a test wants."""

    def __init__(self, bundle: Bundle, backend: Backend, pages: int) -> None:
        self._bundle, self._backend = bundle, backend
        self._executors = Executors(bundle, backend.load)
        self._pipeline = Pipeline(bundle, self._executors, backend)
        self._residence = Residence(backend)
        self.arena = backend.memory.arena
        nbytes = self.arena.free_nbytes - pages * PAGE_NBYTES
        self.arena.lease(self.arena.reserve("others", nbytes), "others")

    def job(self, job_id: str, request: Request) -> tuple[Job, Sink]:
        manifest, sink = self._bundle.manifest, Sink()
        plan, schedule = validate_request(request, manifest)
        return Job(job_id, request, sink, None, plan, schedule, manifest.boundary), sink

    def do(self, job: Job) -> None:
        """The job's next unit."""
        self._residence.enter(job, self._pipeline.space_of(job.unit.stage))
        self._pipeline.run(job.unit, job)
        self._residence.leave(job)
        following = job.following
        if following is None:
            self.end(job)
        else:
            job.cursor = following

    def end(self, job: Job) -> None:
        job.finish(JobState.DONE)
        self._residence.forget(job)

    def clip_of(self, pages: int) -> Holding:
        """Memory that a stage of the job that ran last needs for a while."""
        layout = Layout({"clip": TensorShape((pages * PAGE_NBYTES,), "uint8")})
        return self._backend.memory.hold("clip", "a stage", layout)

    @property
    def in_memory(self) -> set[str]:
        """Jobs that have pages."""
        return {who for where, who in self.arena.usage.held if where.startswith("job")}

    def close(self) -> None:
        self.arena.check()
        assert self.in_memory == set()
        self._executors.close()
        self._backend.close()


def in_turns(turns: Turns, jobs: Iterable[Job]) -> list[set[str]]:
    """Do a unit of each job in turn until all are over: who was in memory after each."""
    left, seen = list(jobs), []
    while left:
        for job in left:
            turns.do(job)
            seen.append(turns.in_memory)
        left = [job for job in left if not job.state.final]
    return seen


@pytest.mark.parametrize("pages", [FOR_ONE, ENOUGH])
def test_jobs_that_take_turns_end_as_if_alone(
    make_bundle: MakeBundle, make_request: MakeRequest, open_backend: OpenBackend, pages: int
) -> None:
    bundle = make_bundle(high=0.5, low=0.25)
    requests = [make_request(frames=frames, seed=frames) for frames in (5, 9, 13)]
    alone = [Sink() for _ in requests]
    with Engine(bundle, threads=1) as engine:
        for request, sink in zip_longest(requests, alone):
            engine.generate(request, sink)
    turns = Turns(bundle, open_backend(), pages)
    jobs, sinks = zip(*(turns.job(str(i), r) for i, r in enumerate(requests)), strict=True)
    seen = in_turns(turns, jobs)
    turns.close()
    for sink, expected in zip_longest(sinks, alone):
        np.testing.assert_array_equal(sink.frames, expected.frames)
    assert (seen[2] == {"0", "1", "2"}) == (pages == ENOUGH)  # all are conditioned by then


def test_the_job_that_ran_longest_ago_goes_first(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    turns = Turns(make_bundle(), HostBackend(threads=1), FOR_ONE + 2)
    jobs = {name: turns.job(name, make_request())[0] for name in "abc"}
    for name in "abc":
        turns.do(jobs[name])
    assert turns.in_memory == {"a", "b", "c"}
    turns.do(jobs["a"])
    with turns.clip_of(pages=3):
        assert turns.in_memory == {"a", "c"}
    for job in jobs.values():
        turns.end(job)
    turns.close()


def free_pages(gpu: MadeUpGpu) -> int:
    return gpu.cuda.free_nbytes // PAGE_NBYTES


def test_a_job_makes_room_where_memory_is_short_though_pages_are_not(
    make_bundle: MakeBundle, make_request: MakeRequest, tmp_path: Path
) -> None:
    """Weights lie in the same memory as pages, and came between."""
    gpu = MadeUpGpu(tmp_path)
    turns = Turns(make_bundle(), gpu.backend(), ENOUGH)
    (first, sink), (second, _) = (turns.job(name, make_request()) for name in ("first", "second"))
    turns.do(first)
    turns.arena.trim()
    weights_nbytes = (free_pages(gpu) - 1) * PAGE_NBYTES
    gpu.cuda.take(weights_nbytes)
    assert turns.arena.free_nbytes > 10 * PAGE_NBYTES
    turns.do(second)
    assert turns.in_memory == {"second"}
    turns.end(second)
    while not first.state.final:
        turns.do(first)
    assert sink.endings == ["close"]
    turns.close()
    gpu.cuda.give_back(weights_nbytes)
    gpu.require_all_given_back()


def test_a_job_makes_room_for_an_engine(
    make_bundle: MakeBundle, make_request: MakeRequest, tmp_path: Path, shared_tokenizer: bytes
) -> None:
    """The text encoder, for a prompt that is not the bundle's, beside a job that waits."""
    gpu = MadeUpGpu(tmp_path)
    bundle = make_bundle()
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    turns = Turns(bundle, gpu.backend(), ENOUGH)
    first, _ = turns.job("first", make_request())
    second, _ = turns.job("second", make_request(prompt="a cat"))
    turns.do(first)
    turns.arena.trim()
    room = free_pages(gpu)  # beside the first job; what the second needs with it is two
    gpu.weights_nbytes["text_encoder"] = (room - 1) * PAGE_NBYTES
    turns.do(second)
    assert turns.in_memory == {"second"}
    for job in (first, second):
        turns.end(job)
    turns.close()
    gpu.require_all_given_back()


def test_an_engine_without_room_beside_a_unit_that_runs_is_loaded_alone(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    backend = HostBackend(threads=1)
    turns = Turns(make_bundle(), backend, ENOUGH)
    residence = Residence(backend)
    loads: list[int] = []
    jobs = [turns.job(name, make_request())[0] for name in ("first", "second")]

    def load() -> None:
        loads.append(len(loads))
        raise ResourceError("no room")

    def begin_and_load(job: Job) -> None:
        residence.enter(job, backend.memory.space)
        backend.memory.load_beside(load)

    with pytest.raises(ResourceError, match="no room"):
        begin_and_load(jobs[0])
    assert len(loads) == 1, "nothing has changed since"
    with pytest.raises(CrowdedError):
        begin_and_load(jobs[1])
    assert len(loads) == 2
    turns.close()


def test_a_job_that_is_put_aside_can_end(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    backend = HostBackend(threads=1)
    turns = Turns(make_bundle(), backend, FOR_ONE)
    first, second = (turns.job(name, make_request())[0] for name in ("first", "second"))
    turns.do(first)
    turns.do(second)
    with turns.clip_of(pages=2):
        assert turns.in_memory == {"second"}
    before = backend.parking.free_nbytes
    turns.end(first)
    assert backend.parking.free_nbytes > before
    turns.end(second)
    turns.close()


def test_a_job_that_never_fits_is_refused_at_once(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    """A page for its state and one for a clip are the least; what is borrowed for moments comes on
    top."""
    bundle, sink = make_bundle(), Sink()
    for pages in (1, 3):
        backend = HostBackend(threads=1, memory_nbytes=pages * PAGE_NBYTES)
        with Engine(bundle, backend=backend) as engine:
            if pages == 1:
                with pytest.raises(ResourceError, match="4 MB for its tensors and a clip"):
                    engine.submit(make_request(), sink)
                assert not engine.step()
            else:
                engine.generate(make_request(), sink)
    assert sink.endings == ["close"]
