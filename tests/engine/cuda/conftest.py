"""A device to run on: the CPU behind a fake driver everywhere, the GPU where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from device_side import DeviceSide
from fake_cuda import FakeCuda

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import ResourceError


@pytest.fixture(scope="session")
def host_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where kernels are compiled for the CPU, once."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def fake() -> FakeCuda:
    return FakeCuda()


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def side(request: pytest.FixtureRequest, fake: FakeCuda, host_folder: Path) -> Iterator[DeviceSide]:
    """Each test runs on the fake driver, and as it is on a GPU."""
    if request.param == "host":
        side = DeviceSide(Device(bindings=fake), host_folder=host_folder)
    else:
        try:
            side = DeviceSide(Device(), host_folder=None)
        except ResourceError as error:
            pytest.skip(f"needs a GPU: {error.given}")
    yield side
    side.close()
    if request.param == "host":
        assert fake.live == {}, "something was not given back"
