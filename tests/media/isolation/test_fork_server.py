"""Where reader processes come from, and where they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from reader_processes import alive, until

from wan_trt.engine.errors import MediaError
from wan_trt.media.isolation import IsolatedMedia
from wan_trt.media.isolation.processes import ForkServer

if TYPE_CHECKING:
    from media.conftest import NumberedVideos


def test_the_fork_server_is_started_again(videos: NumberedVideos) -> None:
    video = videos.make(count=4)
    server = ForkServer()
    first = IsolatedMedia(fork_server=server)
    frames = first.frames(video)
    assert first.pid is not None
    pid = first.pid
    parent = int(Path(f"/proc/{pid}/status").read_text().split("PPid:\t")[1].split()[0])
    os.kill(parent, signal.SIGKILL)
    with pytest.raises(MediaError, match="it is gone"):
        frames.read(0, 4)
    until(lambda: not alive(pid))
    second = IsolatedMedia(fork_server=server)
    assert second.frames(video).read(0, 4).shape[0] == 4
    first.close()
    second.close()
    server.close()


def test_jobs_of_a_fork_server_that_died_are_no_harm_to_those_of_the_next(
    videos: NumberedVideos,
) -> None:
    """The pids of their readers mean nothing to it, or somebody else."""
    video = videos.make(count=4)
    server = ForkServer()
    first = IsolatedMedia(fork_server=server)
    first.frames(video)
    assert first.pid is not None
    pid = first.pid
    parent = int(Path(f"/proc/{pid}/status").read_text().split("PPid:\t")[1].split()[0])
    os.kill(parent, signal.SIGKILL)
    until(lambda: not alive(pid))
    second = IsolatedMedia(fork_server=server)
    frames = second.frames(video)
    first.close()  # it has not been asked since
    assert frames.read(0, 4).shape[0] == 4
    with subprocess.Popen(["sleep", "60"]) as stranger:
        assert server.end(stranger.pid) is None
        assert alive(stranger.pid)
        stranger.kill()
    assert server.end(stranger.pid) is None  # there is none any more
    assert frames.read(0, 4).shape[0] == 4
    second.close()
    server.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_readers_end_with_who_started_them(videos: NumberedVideos, number: signal.Signals) -> None:
    script = (
        "import sys, time\n"
        "from wan_trt.media.isolation import IsolatedMedia\n"
        "media = IsolatedMedia()\n"
        "media.frames(sys.argv[1])\n"
        "print(media.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(videos.make(count=4))],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": "tests/.path"},
        cwd=Path(__file__).parents[2],
        text=True,
    ) as process:
        assert process.stdout is not None
        reader = int(process.stdout.readline())
        assert alive(reader)
        process.send_signal(number)
    until(lambda: not alive(reader))
