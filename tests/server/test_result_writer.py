"""A result follows the spool of its job in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.server.store.job_folder import JobFolder
from wan_trt.server.store.result_writer import ResultWriter
from wan_trt.server.store.room import Room
from wan_trt.server.store.spool import Spool, SpoolFormat

SHAPE = (3, 4, 6, 3)


@dataclass
class SlowFile:
    """An encoder that takes frames when it is told to."""

    go_on: threading.Event = field(default_factory=threading.Event)
    pixels: list[NDArray[np.uint8]] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    fail: Exception | None = None

    def write(self, pixels: NDArray[np.uint8], /) -> None:
        assert self.go_on.wait(30)
        if self.fail is not None:
            raise self.fail
        self.pixels.append(pixels)

    def close(self) -> None:
        self.endings.append("close")

    def abort(self) -> None:
        self.endings.append("abort")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    folder = JobFolder(tmp_path / "job")
    folder.create()
    form = SpoolFormat(SHAPE[1], SHAPE[2], np.dtype(np.uint8), SHAPE[0])
    return Spool(folder, form, Room(tmp_path, reserve_nbytes=0), ())


def add_segment(spool: Spool, value: float) -> None:
    spool.begin(len(spool.segments), np.zeros((16, 1, 1, 1), np.float32))
    spool.write(np.full(SHAPE, value, np.float32))
    spool.accept(spool.finish())


def values(file: SlowFile) -> list[int]:
    return [int(frame[0, 0, 0]) for pixels in file.pixels for frame in pixels]


def writer_of(spool: Spool, *files: Any) -> ResultWriter:
    opened = iter(files)
    open_file: Callable[[], Any] = lambda: next(opened)  # noqa: E731
    return ResultWriter(spool, open_file)


def catch_up_for_ever(writer: ResultWriter) -> None:
    while True:
        writer.catch_up()


def test_a_slow_encoder_does_not_hold_the_engine_up(spool: Spool) -> None:
    file = SlowFile()
    writer = writer_of(spool, file)
    for value in (-1, 0, 1):
        add_segment(spool, value)
        writer.catch_up()  # returns, though no frame was taken yet
    assert file.pixels == []
    file.go_on.set()
    writer.close()
    assert values(file) == [0] * 3 + [127] * 3 + [255] * 3
    assert file.endings[0] == "close"


def test_what_fails_is_told_with_the_next_call_and_written_again(spool: Spool) -> None:
    broken, whole = SlowFile(fail=OSError("gone")), SlowFile()
    broken.go_on.set()
    whole.go_on.set()
    writer = writer_of(spool, broken, whole)
    add_segment(spool, -1)
    writer.catch_up()
    with pytest.raises(OSError, match="gone"):
        catch_up_for_ever(writer)
    assert broken.endings == ["abort"]
    add_segment(spool, 1)
    writer.close()
    assert values(whole) == [0] * 3 + [255] * 3


def test_a_job_that_ends_early_waits_for_no_encoder(spool: Spool) -> None:
    file = SlowFile()
    writer = writer_of(spool, file)
    for value in (0, 0, 0):
        add_segment(spool, value)
    writer.catch_up()
    threading.Timer(0.05, file.go_on.set).start()  # the frames that it is at
    writer.abort()
    assert len(file.pixels) < 3
    assert file.endings == ["abort"]
