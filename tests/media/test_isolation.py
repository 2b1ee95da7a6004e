"""Media read in a process of its own: the same frames, and one error where the process dies."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from wan_trt.engine.errors import InputError, MediaError, MediaLimitError
from wan_trt.media import LocalMedia, MediaLimits, SoundFile, open_frames, open_pixel_writer
from wan_trt.media.isolation import IsolatedMedia, ProcessLimits
from wan_trt.media.isolation.processes import ForkServer
from wan_trt.media.sound import BATCH_NBYTES, PART_NBYTES, SAMPLE_NBYTES

if TYPE_CHECKING:
    from media.conftest import NumberedVideos


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


def write_with_sound(out: Path, sound: SoundFile, count: int = 40) -> None:
    writer = open_pixel_writer(
        out, height=32, width=48, frame_count=count, rate=Fraction(30), audio_from=sound
    )
    writer.write(np.zeros((count, 32, 48, 3), np.uint8))
    writer.close()


def wave(samples: NDArray[np.float32]) -> bytes:
    """A WAV file of float samples, whatever they are."""
    file = io.BytesIO()
    with av.open(file, "w", format="wav") as container:
        stream = container.add_stream("pcm_f32le", rate=48000)
        stream.codec_context.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[None], "flt", "mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "aac"),
        ("a.mp4", "libmp3lame"),
        ("a.mp4", "eac3"),
        ("a.mp4", "alac"),
        ("a.ts", "aac"),
        ("a.mkv", "libopus"),
        ("a.mkv", "pcm_s16le"),
    ],
)
def test_sound_is_the_same_as_in_this_process(
    media: IsolatedMedia, videos: NumberedVideos, tmp_path: Path, name: str, codec: str
) -> None:
    driving = videos.make(name, audio=codec, audio_seconds=3.0, count=60)
    written = []
    for reader in (LocalMedia(), media):
        out = tmp_path / "out.mp4"
        write_with_sound(out, SoundFile(driving, "pose", reader))
        with av.open(str(out)) as container:
            assert container.streams.audio
        written.append(out.read_bytes())
        reader.close()
    assert written[0] == written[1]


def test_sound_comes_in_bounded_batches(media: IsolatedMedia, videos: NumberedVideos) -> None:
    driving = videos.make("a.mkv", audio="pcm_s16le", audio_seconds=20.0)
    sound = media.sound(driving, Fraction(15))
    assert sound is not None
    batches = []
    while parts := sound.read():
        batches.append(sum(len(part.content) for part in parts))
    assert len(batches) > 5
    assert max(batches) < BATCH_NBYTES + PART_NBYTES
    assert sum(batches) == 15 * sound.format.rate * SAMPLE_NBYTES
    sound.close()
    sound.close()
    assert media.sound(videos.make("silent.mp4"), Fraction(1)) is None


def test_sound_that_is_opened_often_keeps_no_file_open(
    open_media: Callable[..., IsolatedMedia], videos: NumberedVideos
) -> None:
    media = open_media(open_files=16)
    driving = videos.make(audio="aac")
    for _ in range(20):
        sound = media.sound(driving, Fraction(1))
        assert sound is not None
        assert sound.read()
        sound.close()


def test_damaged_sound_is_an_error_that_names_the_field(
    media: IsolatedMedia, videos: NumberedVideos
) -> None:
    driving = videos.make(audio="aac", audio_seconds=3.0, faststart=True)
    content = driving.read_bytes()
    driving.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(MediaError, match=r"pose: .*video\.mp4: .*(sound|audio)"):
        media.sound(driving, Fraction(1), "pose")
    (driving.parent / "nan.wav").write_bytes(wave(np.full(4800, np.nan, np.float32)))
    with pytest.raises(MediaError, match=r"pose: .*nan\.wav: its samples are no sound"):
        media.sound(driving.parent / "nan.wav", Fraction(1), "pose")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGXCPU, signal.SIGSTOP])
def test_a_process_that_dies_of_sound_is_an_error_of_its_job(
    open_media: Callable[..., IsolatedMedia], videos: NumberedVideos, number: signal.Signals
) -> None:
    media = open_media(wall_s=1.5)
    out = videos.folder / "out.mp4"
    driving = videos.make(audio="pcm_s16le", name="a.mkv", audio_seconds=20.0, count=600)
    writer = open_pixel_writer(
        out,
        height=32,
        width=48,
        frame_count=600,
        rate=Fraction(30),
        audio_from=SoundFile(driving, "video", media),
    )
    assert media.pid is not None
    os.kill(media.pid, number)
    with pytest.raises(MediaError, match=r"video: .*a\.mkv"):
        writer.write(np.zeros((600, 32, 48, 3), np.uint8))
    writer.abort()
    assert media.pid is None
    assert not out.exists()


def test_nonsense_of_a_process_is_an_error(
    monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer, videos: NumberedVideos
) -> None:
    driving = videos.make(audio="aac")
    for wrong in (
        {"rate": -1},
        {"clock": [1, 0]},
        {"layout": "round"},
        {"codec": ["aac"]},
        {"extradata": "00" * (1 << 15)},
    ):
        other = IsolatedMedia(fork_server=fork_server)

        def message(connection: Any, wrong: dict[str, Any] = wrong, asked: Any = other) -> Any:
            answer = IsolatedMedia.message(asked, connection)
            return answer | {"format": answer["format"] | wrong}

        monkeypatch.setattr(other, "message", message)
        with pytest.raises(MediaError, match=r"pose: .*nonsense"):
            other.sound(driving, Fraction(1), "pose")
        assert other.pid is None
        other.close()


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
