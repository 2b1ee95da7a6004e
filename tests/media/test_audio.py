"""The driving video's sound in the output."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.media import SoundFile, open_frames, open_sink

if TYPE_CHECKING:
    from media.conftest import NumberedVideos


def render(path: Path, audio_from: Path | None, count: int = 30, rate: int = 30) -> None:
    sink = open_sink(
        path,
        height=32,
        width=48,
        frame_count=count,
        rate=Fraction(rate),
        audio_from=None if audio_from is None else SoundFile(audio_from),
    )
    for _ in range(count):
        sink.write(np.zeros((1, 32, 48, 3), np.float32))
    sink.close()


def sound(path: Path) -> tuple[str, NDArray[np.float32], int, float]:
    """(codec, samples of the first channel, rate, start in seconds) as a player would hear it."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", "mono", stream.sample_rate)
        parts: list[NDArray[np.float32]] = []
        start: float | None = None
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            parts += [p.to_ndarray()[0].astype(np.float32) for p in resampler.resample(frame)]
        return stream.codec_context.name, np.concatenate(parts), stream.sample_rate, start or 0.0


def pitch(samples: NDArray[np.float32], rate: int) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize(
    ("name", "codec", "expected"),
    [
        ("a.mp4", "aac", "aac"),
        ("a.mp4", "libmp3lame", "mp3float"),
        ("a.mkv", "pcm_s16le", "aac"),
        ("a.mkv", "libopus", "aac"),
        ("a.mkv", "flac", "aac"),
        ("a.ts", "aac", "aac"),
        ("a.ts", "mp2", "aac"),
    ],
)
def test_sound_is_carried_over(
    videos: NumberedVideos, tmp_path: Path, name: str, codec: str, expected: str
) -> None:
    driving = videos.make(name, audio=codec, audio_seconds=3.0, count=90)
    out = tmp_path / "out.mp4"
    render(out, driving, count=60)
    found, samples, rate, start = sound(out)
    assert found == expected
    assert abs(start) < 0.03
    assert 1.9 < len(samples) / rate < 2.06
    assert abs(pitch(samples, rate) - 440) < 2
    assert open_frames(out).count == 60
    with av.open(str(out)) as container:
        audio, video = container.streams.audio[0], container.streams.video[0]
        assert audio.duration is not None
        assert audio.time_base is not None
        assert video.duration is not None
        assert video.time_base is not None
        assert audio.duration * audio.time_base <= 2 + Fraction(1, 100)
        assert video.duration * video.time_base == 2


def test_copied_sound_is_the_same_sound(videos: NumberedVideos, tmp_path: Path) -> None:
    driving = videos.make(audio="aac", audio_seconds=1.0, count=30)
    render(tmp_path / "out.mp4", driving, count=40)
    original, copied = sound(driving), sound(tmp_path / "out.mp4")
    length = min(len(original[1]), len(copied[1])) - 1024
    assert copied[3] == original[3]
    assert np.array_equal(original[1][:length], copied[1][:length])


def test_sound_that_starts_late_stays_late(videos: NumberedVideos, tmp_path: Path) -> None:
    # Dropping the first half second of packets makes a track that begins after the pictures.
    driving, late = videos.make(audio="aac", audio_seconds=2.0, count=60), tmp_path / "late.mp4"
    with av.open(str(driving)) as source, av.open(str(late), "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            keep = packet.stream.type == "video" or (packet.pts or 0) * packet.time_base >= 0.5
            if packet.dts is not None and keep:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    render(tmp_path / "out.mp4", late, count=60)
    assert abs(sound(tmp_path / "out.mp4")[3] - 0.5) < 0.03


def test_other_sample_rates_and_channels(videos: NumberedVideos, tmp_path: Path) -> None:
    driving = videos.make("a.mkv", audio="pcm_s16le", audio_rate=96000, audio_seconds=1.0)
    render(tmp_path / "out.mp4", driving)
    _, samples, rate, _ = sound(tmp_path / "out.mp4")
    assert rate == 48000
    assert abs(pitch(samples, rate) - 440) < 2


@pytest.mark.parametrize("silent", ["video", "pattern", "tensor", "none"])
def test_no_sound_no_track(videos: NumberedVideos, tmp_path: Path, silent: str) -> None:
    source = {
        "video": videos.make(),
        "pattern": tmp_path / "pose.%04d.png",
        "tensor": tmp_path / "pose.safetensors",
        "none": None,
    }[silent]
    render(tmp_path / "out.mp4", source)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


def test_damaged_sound_is_refused_at_once(videos: NumberedVideos, tmp_path: Path) -> None:
    driving = videos.make(audio="aac", audio_seconds=3.0, faststart=True)
    content = driving.read_bytes()
    driving.write_bytes(content[: len(content) * 3 // 4])
    with pytest.raises(MediaError, match=r"video\.mp4"):
        render(tmp_path / "out.mp4", driving)
    assert not (tmp_path / "out.mp4").exists()


def test_packets_that_no_mp4_takes_are_an_error_of_the_file(
    videos: NumberedVideos, tmp_path: Path
) -> None:
    driving = videos.make("a.mkv", audio="eac3", audio_seconds=1.0)
    content = re.sub(rb"(\x0b\x77.).", b"\\1\xff", driving.read_bytes(), flags=re.DOTALL)
    driving.write_bytes(content)  # the size that each E-AC-3 frame tells is wrong
    with pytest.raises(MediaError, match=r"a\.mkv: its sound does not fit into an MP4"):
        render(tmp_path / "out.mp4", driving)
    assert not (tmp_path / "out.mp4").exists()


def test_examples(shared: Path, tmp_path: Path) -> None:
    driving = shared / "data" / "examples" / "animate_video.mp4"
    render(tmp_path / "out.mp4", driving, count=60)
    codec, samples, rate, start = sound(tmp_path / "out.mp4")
    assert (codec, rate) == ("aac", 48000)
    assert 1.9 < len(samples) / rate <= 2.05
    assert abs(start) < 0.03
