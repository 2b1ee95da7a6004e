"""Fixtures of the arena's tests: the same in each place where memory can be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from memory_places import PLACES, Place

from wan_trt.engine.cuda.space import CudaSpace
from wan_trt.engine.host_backend import HostSpace
from wan_trt.engine.memory.arena import Arena
from wan_trt.engine.memory.tensors import TensorMemory


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    opened: Place = request.param()
    return opened


@pytest.fixture
def page(place: Place) -> int:
    """Bytes of a page."""
    return place.page_nbytes


@pytest.fixture
def arena(place: Place) -> Iterator[Arena]:
    """Eight pages; whatever a test does, its books balance afterwards."""
    arena = place.arena(8)
    yield arena
    arena.check()
    arena.close()


@pytest.fixture
def memory(place: Place) -> Iterator[TensorMemory]:
    """Eight pages for tensors."""
    space: HostSpace | CudaSpace
    space = HostSpace() if place.device is None else CudaSpace(place.device)
    memory = TensorMemory(place.arena(8), space)
    yield memory
    memory.arena.check()
    memory.close()
    if isinstance(space, CudaSpace):
        space.close()
