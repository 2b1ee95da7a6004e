"""Sound read in a process of its own: the same MP4, and one error where the process dies."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.media import LocalMedia, SoundFile, open_pixel_writer
from wan_trt.media.isolation import IsolatedMedia
from wan_trt.media.isolation.processes import ForkServer
from wan_trt.media.sound import BATCH_NBYTES, PART_NBYTES, SAMPLE_NBYTES

if TYPE_CHECKING:
    from media.conftest import NumberedVideos


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
