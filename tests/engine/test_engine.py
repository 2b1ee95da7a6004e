"""An engine: how it is made, told of jobs by many threads, and closed; the package around it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from toy_jobs import MakeBundle, MakeRequest, Sink

import wan_trt.engine
from wan_trt.engine import Engine, Event, JobState
from wan_trt.engine.errors import BundleError, InputError, NotFoundError, ResourceError


@pytest.mark.parametrize("threads", [-1, 0, 100_000])
def test_numbers_of_threads_that_make_no_sense(make_bundle: MakeBundle, threads: int) -> None:
    with pytest.raises(InputError, match=f"threads: {threads}; expected 1 to"):
        Engine(make_bundle(), threads)


def test_a_bundle_without_a_graph_is_refused(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    graphs = {k: v for k, v in bundle.manifest.graphs.items() if k != "denoiser"}
    object.__setattr__(bundle.manifest, "graphs", graphs)
    with pytest.raises(BundleError, match="denoiser"):
        Engine(bundle)


def test_unknown_jobs_and_taken_ids(engine: Engine, make_request: MakeRequest) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        engine.cancel("nobody")
    with pytest.raises(NotFoundError):
        engine.summary("nobody")
    engine.submit(make_request(), Sink(), job_id="mine")
    with pytest.raises(InputError, match="taken"):
        engine.submit(make_request(), Sink(), job_id="mine")


def test_submitting_from_other_threads(engine: Engine, make_request: MakeRequest) -> None:
    """One thread steps while others submit: the first event of each job is its arrival."""
    events: dict[str, list[Event]] = {}
    done = threading.Event()

    def watch(event: Event) -> None:
        events.setdefault(event.job_id, []).append(event)

    def serve() -> None:
        while not done.is_set():
            if not engine.step():
                engine.wait(timeout_s=0.05)

    server = threading.Thread(target=serve)
    server.start()
    sinks = [Sink() for _ in range(6)]
    clients = [
        threading.Thread(target=engine.submit, args=(make_request(), sink, watch)) for sink in sinks
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    while engine.wait(timeout_s=0):
        pass
    done.set()
    server.join()
    assert all(sink.endings == ["close"] for sink in sinks)
    for told in events.values():
        assert [event.sequence for event in told] == list(range(1, len(told) + 1))
        assert told[0].state is JobState.QUEUED
        assert told[-1].state is JobState.DONE


def test_closing_cancels_what_is_left(make_bundle: MakeBundle, make_request: MakeRequest) -> None:
    engine = Engine(make_bundle(), threads=1)
    sink = Sink()
    job_id = engine.submit(make_request(), sink)
    engine.step()
    engine.close()
    engine.close()
    assert sink.endings == ["abort"]
    assert engine.summary(job_id).state is JobState.CANCELLED
    with pytest.raises(ResourceError, match="closed"):
        engine.submit(make_request(), Sink())


def test_importing_the_package_loads_no_backend() -> None:
    code = (
        "import sys, wan_trt.engine, wan_trt.engine.errors, wan_trt.engine.request;"
        "sys.exit('onnxruntime' in sys.modules or 'torch' in sys.modules)"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": paths})


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(wan_trt.engine, name) for name in wan_trt.engine.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Enigne'"):
        wan_trt.engine.Enigne  # noqa: B018
