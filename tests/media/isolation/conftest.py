"""Media opened in reader processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from wan_trt.media import MediaLimits
from wan_trt.media.isolation import IsolatedMedia, ProcessLimits
from wan_trt.media.isolation.processes import ForkServer

if TYPE_CHECKING:
    pass


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def open_media(fork_server: ForkServer) -> Iterator[Callable[..., IsolatedMedia]]:
    """open_media(**process limits)"""
    opened: list[IsolatedMedia] = []

    def make(limits: MediaLimits | None = None, **process: float) -> IsolatedMedia:
        opened.append(IsolatedMedia(limits, ProcessLimits(**process), fork_server))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for media in opened:
        media.close()


@pytest.fixture
def media(open_media: Callable[..., IsolatedMedia]) -> IsolatedMedia:
    return open_media()
