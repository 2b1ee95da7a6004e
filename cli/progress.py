"""How a job's progress looks: a bar that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
from typing import TextIO

from wan_trt.engine.request import Event, JobState

_BAR_WIDTH = 24
_CLEAR_TO_END = "\x1b[K"


class ProgressLine:
    """Shows events of one job.

    segment 1/2  [######..................] step 3/4  high  ETA 0:12
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._moves = stream.isatty()

    def show(self, event: Event) -> None:
        """Replace the line, or append one; the final event ends it."""
        text = progress_text(event)
        if self._moves:
            columns = shutil.get_terminal_size().columns
            self._stream.write(f"\r{text[: columns - 1]}{_CLEAR_TO_END}")
            if event.state.final:
                self._stream.write("\n")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()


def progress_text(event: Event) -> str:
    """One line that says where a job stands."""
    match event.state:
        case JobState.QUEUED:
            return "queued"
        case JobState.PAUSED:
            return f"paused: {event.error}"
        case JobState.DONE:
            return f"done: {event.frames} frames in {clock(event.elapsed_s)}"
        case JobState.FAILED | JobState.CANCELLED:
            return f"{event.state.value} after {clock(event.elapsed_s)}"
    if not event.segments:  # a driving video is being prepared
        share = event.step / event.steps if event.steps else 0.0
        return f"{event.stage or 'preparing'}  {bar(share)} frame {event.step}/{event.steps}"
    parts = [f"segment {event.segment + 1}/{event.segments}", bar(fraction(event))]
    if event.stage == "decode":
        parts[-1] += f" frame {event.frames}/{event.total_frames}"
    elif event.stage == "conditioning":
        parts[-1] += " conditioned"
    elif event.stage:
        parts[-1] += f" step {event.step}/{event.steps}"
    else:  # a segment begins; or a job goes on whose steps are done
        parts[-1] += " decoding" if event.step else " conditioning"
    if event.expert is not None:
        parts.append(event.expert.value)
    if event.eta_s is not None:
        parts.append(f"ETA {clock(event.eta_s)}")
    return "  ".join(parts)


def fraction(event: Event) -> float:
    """Share of all denoising steps of the job that is done, 0 .. 1."""
    if event.state is JobState.DONE:
        return 1.0
    total = event.segments * event.steps
    return (event.segment * event.steps + event.step) / total if total else 0.0


def bar(share: float) -> str:
    """A bar of fixed width, filled to `share` of 0 .. 1."""
    filled = int(_BAR_WIDTH * share)
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]"


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any: 0:12, 1:02:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
