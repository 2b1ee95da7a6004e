from __future__ import annotations

import io

import pytest

from wan_trt.cli.progress import ProgressLine, bar, clock, progress_text
from wan_trt.engine.errors import StorageFullError
from wan_trt.engine.request import Event, ExpertName, JobState


def running(**fields: object) -> Event:
    values = {"segments": 2, "steps": 4, "total_frames": 9} | fields
    return Event(1, "job", JobState.RUNNING, **values)  # type: ignore[arg-type]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_step() -> None:
    event = running(stage="denoise", step=2, expert=ExpertName.HIGH, eta_s=12.4)
    assert progress_text(event) == (
        "segment 1/2  [######..................] step 2/4  high  ETA 0:12"
    )


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            running(segment=1, frames=5, eta_s=61),
            "segment 2/2  [############............] conditioning  ETA 1:01",
        ),
        (running(stage="conditioning"), "segment 1/2  [........................] conditioned"),
        (
            running(stage="decode", segment=1, step=4, frames=9),
            "segment 2/2  [########################] frame 9/9",
        ),
        (
            running(segment=1, step=4),
            "segment 2/2  [########################] decoding",
        ),
        (Event(1, "job", JobState.QUEUED), "queued"),
        (Event(4, "job", JobState.PAUSED, error=StorageFullError("no room")), "paused: no room"),
        (Event(9, "job", JobState.DONE, frames=9, elapsed_s=83), "done: 9 frames in 1:23"),
        (Event(9, "job", JobState.FAILED, elapsed_s=3), "failed after 0:03"),
    ],
)
def test_other_news(event: Event, text: str) -> None:
    assert progress_text(event) == text


def test_a_file_gets_lines() -> None:
    stream = io.StringIO()
    line = ProgressLine(stream)
    line.show(Event(1, "job", JobState.QUEUED))
    line.show(Event(2, "job", JobState.DONE, frames=1, elapsed_s=1))
    assert stream.getvalue() == "queued\ndone: 1 frames in 0:01\n"


def test_a_terminal_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    line = ProgressLine(stream)
    line.show(running(stage="denoise", step=2))
    line.show(Event(2, "job", JobState.DONE, frames=1, elapsed_s=1))
    first, second = stream.getvalue().split("\r")[1:]
    assert len(first.removesuffix("\x1b[K")) == 19
    assert second.endswith("\x1b[K\n")


def test_bar_and_clock() -> None:
    assert bar(0) == "[" + "." * 24 + "]"
    assert bar(1) == "[" + "#" * 24 + "]"
    assert [clock(s) for s in (0, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]
