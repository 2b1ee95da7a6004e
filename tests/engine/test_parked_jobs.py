"""A job that is put aside after any unit of its work, and comes back, ends as it would have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from made_up_gpu import MadeUpGpu
from toy_jobs import MakeBundle, MakeRequest

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Sampling
from wan_trt.engine.backend import Backend
from wan_trt.engine.cuda.backend import CudaBackend
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.job import Job
from wan_trt.engine.memory.host_stores import MemoryStore
from wan_trt.engine.memory.layout import Layout, TensorShape
from wan_trt.engine.memory.parking import Parking, ParkingStore
from wan_trt.engine.memory.pinned import PinnedStore
from wan_trt.engine.stages.pipeline import JOB, Pipeline
from wan_trt.engine.validation import validate_request

CHUNK_NBYTES = 1 << 16
OpenBackend = Callable[[], Backend]


@pytest.fixture(params=["host", "made-up GPU"])
def open_backend(request: pytest.FixtureRequest, tmp_path: Path) -> OpenBackend:
    return HostBackend if request.param == "host" else MadeUpGpu(tmp_path).backend


def store_for(backend: Backend) -> ParkingStore:
    if isinstance(backend, CudaBackend):
        return PinnedStore(backend.device, CHUNK_NBYTES)
    return MemoryStore(CHUNK_NBYTES)


@contextmanager
def parking_of(backend: Backend) -> Iterator[Parking]:
    parking = Parking(backend.memory.arena, store_for(backend), 64 << 20)
    yield parking
    parking.check()
    parking.close()


def run(
    bundle: Bundle, request: AnimateRequest, backend: Backend, between: Callable[[Job], None]
) -> CollectedFrames:
    """A whole job, with something done after each of its units."""
    plan, schedule = validate_request(request, bundle.manifest)
    sink = CollectedFrames()
    job = Job("parked", request, sink, None, plan, schedule, bundle.manifest.boundary)
    executors = Executors(bundle, backend.load)
    pipeline = Pipeline(bundle, executors, backend)
    while True:
        pipeline.run(job.unit, job)
        between(job)
        following = job.following
        if following is None:
            break
        job.cursor = following
    assert job.tensors is not None
    job.tensors.close()
    executors.close()
    backend.memory.arena.check()
    assert backend.memory.arena.usage.held == {}
    return sink


@pytest.mark.parametrize("guidance", [(1.0, 1.0), (2.0, 3.0)])
def test_a_job_parked_after_every_unit_is_as_undisturbed(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    open_backend: OpenBackend,
    guidance: tuple[float, float],
) -> None:
    bundle = make_bundle(high=0.5, low=0.25)
    request = make_request(frames=9, sampling=Sampling(steps=4, guidance=guidance))
    undisturbed = HostBackend(threads=1)
    expected = run(bundle, request, undisturbed, lambda _: None)
    undisturbed.close()
    backend = open_backend()
    with parking_of(backend) as parking:

        def put_aside(job: Job) -> None:
            assert job.tensors is not None
            holding = job.tensors.holding
            address = holding.address
            holding.park(parking)
            assert backend.memory.arena.usage.held == {}
            scribble(backend)
            holding.bring_back()
            assert holding.address == address

        found = run(bundle, request, backend, put_aside)
    backend.close()
    np.testing.assert_array_equal(found.frames, expected.frames)
    assert found.latents.keys() == expected.latents.keys()
    for segment, latents in expected.latents.items():
        np.testing.assert_array_equal(found.latents[segment], latents)


def scribble(backend: Backend) -> None:
    """Somebody else has the pages for a while."""
    layout = Layout({"x": TensorShape((4 << 20,), "uint8")})
    with backend.memory.hold(JOB, "somebody else", layout) as holding:
        tensor = holding.tensors["x"]
        backend.memory.space.write(tensor, np.full(tensor.shape, 0xFF, np.uint8))


def test_a_job_holds_what_its_layout_says(
    make_bundle: MakeBundle, make_request: MakeRequest, open_backend: OpenBackend
) -> None:
    """One lease from the first unit on, whose size does not change."""
    backend = open_backend()
    held = set()

    def look(job: Job) -> None:
        assert job.tensors is not None
        usage = backend.memory.arena.usage
        held.add(tuple(usage.held.items()))

    run(make_bundle(high=0.5, low=0.25), make_request(frames=9), backend, look)
    assert held == {((("job-1", "parked"), 1),)}
    backend.close()
