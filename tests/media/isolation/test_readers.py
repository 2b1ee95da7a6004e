"""Media read in a process of its own: the same frames, and one error where the process dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from wan_trt.engine.errors import InputError, MediaError, MediaLimitError
from wan_trt.media import LocalMedia, MediaLimits, open_frames
from wan_trt.media.isolation import IsolatedMedia
from wan_trt.media.isolation.processes import ForkServer

if TYPE_CHECKING:
    from media.conftest import NumberedVideos


def test_a_job_reads_the_same_as_in_this_process(
    media: IsolatedMedia, videos: NumberedVideos, tmp_path: Path
) -> None:
    video = videos.make(count=30, rate=24)
    picture = tmp_path / "hero.png"
    Image.fromarray(videos.picture(5)).save(picture)
    noise = tmp_path / "noise.safetensors"
    save_file({"segment.0": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)}, noise)
    here = LocalMedia()

    frames, expected = media.frames(video, "pose"), here.frames(video)
    assert (frames.count, frames.height, frames.width) == (30, 48, 64)
    assert frames.rate == expected.rate == 24
    for start, stop in ((0, 1), (1, 5), (20, 30), (3, 3), (4, 12)):
        assert np.array_equal(frames.read(start, stop), expected.read(start, stop))
    assert np.array_equal(media.image(picture), here.image(picture))
    read = media.noise(noise)
    assert np.array_equal(read.segment(0, (2, 3, 2, 2)), here.noise(noise).segment(0, (2, 3, 2, 2)))
    with pytest.raises(InputError, match=r"noise: .*no tensor segment.1"):
        read.segment(1, (2, 3, 2, 2))
    assert frames.read(0, 1).shape == (1, 48, 64, 3)  # an error costs nothing but itself
    here.close()


def test_errors_are_those_of_the_readers(media: IsolatedMedia, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    for path in (tmp_path / "none.mp4", tmp_path / "text.mp4"):
        with pytest.raises(MediaError) as here:
            open_frames(path, field="face")
        with pytest.raises(MediaError) as there:
            media.frames(path, "face")
        assert str(there.value) == str(here.value)
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="no such file"):
        media.image(tmp_path / "b.png")
    assert media.image(tmp_path / "a.png").shape == (64, 64, 3)


def test_limits_hold_in_the_process(
    open_media: Callable[..., IsolatedMedia], tmp_path: Path
) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    media = open_media(MediaLimits(picture_pixels=4000))
    with pytest.raises(MediaLimitError, match=r"reference: .*64x64.*at most 4000"):
        media.image(tmp_path / "a.png", "reference")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGXCPU])
def test_a_process_that_dies_is_one_error_of_its_job(
    open_media: Callable[..., IsolatedMedia], videos: NumberedVideos, number: signal.Signals
) -> None:
    video = videos.make(count=12)
    dying, neighbour = open_media(), open_media()
    frames, others = dying.frames(video, "pose"), neighbour.frames(video, "pose")
    assert dying.pid is not None
    pid = dying.pid
    os.kill(pid, number)
    words = "cpu_s" if number is signal.SIGXCPU else number.name
    for _ in range(2):
        with pytest.raises(MediaError, match=rf"pose: .*video.mp4: .*{words}"):
            frames.read(0, 4)
    assert dying.pid is None
    assert not Path(f"/proc/{pid}").exists()  # not even as a zombie
    assert videos.numbers(others.read(4, 8)) == [4, 5, 6, 7]


def test_a_process_that_hangs_is_ended(
    open_media: Callable[..., IsolatedMedia], videos: NumberedVideos
) -> None:
    media = open_media(wall_s=1.5)
    frames = media.frames(videos.make(count=4), "pose")
    assert media.pid is not None
    pid = media.pid
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(MediaLimitError, match=r"pose: .*too long.*1.5 s.*wall_s"):
        frames.read(0, 1)
    assert not Path(f"/proc/{pid}").exists()


def test_a_pipe_does_not_hang_it(media: IsolatedMedia, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="not a regular file"):
        media.frames(tmp_path / "a.mp4")


def test_memory_is_limited(open_media: Callable[..., IsolatedMedia], tmp_path: Path) -> None:
    Image.new("RGB", (6000, 6000)).save(tmp_path / "large.png")
    Image.new("RGB", (60, 60)).save(tmp_path / "small.png")
    media = open_media(memory_nbytes=150 << 20)
    with pytest.raises(MediaError, match=r"reference: .*large.png.*memory"):
        media.image(tmp_path / "large.png", "reference")
    assert media.image(tmp_path / "small.png").shape == (60, 60, 3)


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else may look at such a process")
def test_it_has_nothing_of_this_process_and_can_write_nothing(
    videos: NumberedVideos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAN_TRT_TEST_SECRET", "token")
    server = ForkServer()
    media = IsolatedMedia(fork_server=server)
    (tmp_path / "secret").write_text("token")
    with (tmp_path / "secret").open() as secret:
        os.set_inheritable(secret.fileno(), True)
        media.frames(videos.make(count=4))
        assert media.pid is not None
        process = Path(f"/proc/{media.pid}")
        targets = [str(path.readlink()) for path in (process / "fd").iterdir()]
        kinds = sorted(target.split(":")[0] for target in targets if target != "/dev/null")
        # Its socket, and the video.
        assert kinds == [str(tmp_path / "video.mp4"), "socket"]
        limits = (process / "limits").read_text()
    for name, most in {
        "Max file size": "0",
        "Max core file size": "0",
        "Max open files": "64",
    }.items():
        assert f"{most} " in limits.split(name)[1][:30]
    assert "WAN_TRT_TEST_SECRET" not in (process / "environ").read_text(errors="replace")
    media.close()
    server.close()


def test_closing_does_not_wait_for_what_is_read(
    open_media: Callable[..., IsolatedMedia], videos: NumberedVideos
) -> None:
    media = open_media()
    frames = media.frames(videos.make(count=4))
    assert media.pid is not None
    pid = media.pid
    os.kill(pid, signal.SIGSTOP)
    met: list[BaseException] = []

    def read() -> None:
        try:
            frames.read(0, 4)
        except MediaError as error:
            met.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.1)
    media.close()
    thread.join(20)
    assert not thread.is_alive()
    assert "closed" in str(met[0])
    assert not Path(f"/proc/{pid}").exists()
    media.close()


def test_nothing_is_left_open(
    fork_server: ForkServer, media: IsolatedMedia, videos: NumberedVideos
) -> None:
    video = videos.make(count=4)
    media.frames(video)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        other = IsolatedMedia(fork_server=fork_server)
        other.frames(video).read(0, 4)
        other.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
