"""Videos: counts, exact rates, and random access that equals sequential decoding."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError
from wan_trt.media import open_frames

if TYPE_CHECKING:
    from media.conftest import NumberedVideos


def decode_in_order(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return np.stack(frames).astype(np.uint8)


CODINGS: dict[str, dict[str, Any]] = {
    "b-frames": {"x264": "keyint=12:bframes=3"},
    "open-gop": {"x264": "keyint=10:bframes=3:open-gop=1"},
    "one-gop": {"x264": "keyint=250:bframes=3"},
    "intra": {"x264": "keyint=1"},
    "intra-refresh": {"x264": "keyint=10:intra-refresh=1"},
    "matroska": {"name": "video.mkv"},
    "matroska-open-gop": {"name": "video.mkv", "x264": "keyint=10:bframes=3:open-gop=1"},
    "transport-stream": {"name": "video.ts"},
    "transport-stream-open-gop": {"name": "video.ts", "x264": "keyint=10:bframes=3:open-gop=1"},
    "avi": {"name": "video.avi", "codec": "mpeg4"},
    "avi-h264": {"name": "video.avi"},
    "raw-h264": {"name": "video.h264"},
    "program-stream": {"name": "video.mpg", "codec": "mpeg1video"},
    "prores": {"name": "video.mov", "codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "vp8": {"name": "video.webm", "codec": "libvpx"},
    "vp9": {"name": "video.webm", "codec": "libvpx-vp9"},
    "odd-size": {"size": (47, 65), "pixel_format": "yuv444p"},
    "variable-rate": {"timestamps_ms": [33 * i + i * i % 17 for i in range(60)]},
}


@pytest.mark.parametrize("coding", CODINGS.values(), ids=CODINGS.keys())
def test_random_access_equals_decoding_in_order(
    videos: NumberedVideos, coding: dict[str, Any]
) -> None:
    path = videos.make(count=60, **coding)
    expected = decode_in_order(path)
    frames = open_frames(path)
    assert (frames.count, frames.height, frames.width) == expected.shape[:3]
    ranges = [(0, 5), (5, 9), (12, 13), (40, 60), (59, 60), (3, 4), (38, 41), (0, 60), (20, 20)]
    generator = np.random.default_rng(0)
    ranges += [(int(a), int(a) + 1) for a in generator.integers(0, 60, 15)]
    for start, stop in ranges:
        assert np.array_equal(frames.read(start, stop), expected[start:stop]), (start, stop)
    frames.close()


@pytest.mark.parametrize(
    "coding",
    [{}, {"name": "video.mov", "codec": "qtrle", "pixel_format": "rgb24"}],
    ids=["h264", "rgb"],
)
def test_a_frame_may_be_read_again_and_again(
    videos: NumberedVideos, coding: dict[str, Any]
) -> None:
    """As a lower rate is made a higher one; and who read it may paint over it."""
    path = videos.make(count=30, **coding)
    expected = decode_in_order(path)
    frames = open_frames(path)
    for number in (0, 0, 7, 7, 7, 8, 29, 29, 28):
        once = frames.read(number, number + 1)
        assert np.array_equal(once[0], expected[number])
        once[:] = 0
    assert np.array_equal(frames.read(28, 30), expected[28:30])
    frames.close()


def test_frames_are_the_right_pictures(videos: NumberedVideos) -> None:
    frames = open_frames(videos.make(count=40))
    assert videos.numbers(frames.read(0, 40)) == list(range(40))
    assert videos.numbers(frames.read(17, 20)) == [17, 18, 19]


@pytest.mark.parametrize("rate", [Fraction(30), Fraction(24000, 1001), Fraction(25)])
@pytest.mark.parametrize(
    ("name", "count"),
    [(name, count) for name in ("video.mp4", "video.mkv") for count in (1, 2, 31)]
    + [("video.ts", 31)],  # a transport stream declares no rate, a long one shows it
)
def test_rates_are_exact(videos: NumberedVideos, rate: Fraction, name: str, count: int) -> None:
    frames = open_frames(videos.make(name, rate=rate, count=count))
    assert frames.count == count
    assert frames.rate == rate


def test_variable_rate_counts_every_frame_once(videos: NumberedVideos) -> None:
    timestamps = [0, 33, 66, 200, 233, 500, 533, 566, 600, 1000]
    frames = open_frames(videos.make(count=10, timestamps_ms=timestamps))
    assert videos.numbers(frames.read(0, 10)) == list(range(10))
    assert frames.rate is not None
    assert frames.rate == 9


@pytest.mark.parametrize("gop", [10, 250])
def test_frames_hidden_by_an_edit_list_do_not_count(
    videos: NumberedVideos, tmp_path: Path, gop: int
) -> None:
    trimmed = tmp_path / "trimmed.mp4"
    with (
        av.open(str(videos.make(count=40, x264=f"keyint={gop}:bframes=0"))) as source,
        av.open(str(trimmed), "w") as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts - 5 * 512, packet.dts - 5 * 512
                packet.stream = stream
                target.mux(packet)
    frames = open_frames(trimmed)
    assert videos.numbers(frames.read(0, frames.count)) == list(range(5, 40))
    assert videos.numbers(frames.read(30, 31)) == [35]
    assert videos.numbers(frames.read(2, 9)) == list(range(7, 14))


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_is_applied(videos: NumberedVideos, rotation: float, turns: int) -> None:
    path = videos.make(count=3, rotation=rotation)
    frames = open_frames(path)
    stored = decode_in_order(path)
    upright = frames.read(0, 3)
    assert upright.shape == (3, frames.height, frames.width, 3)
    assert np.array_equal(upright, np.rot90(stored, turns, axes=(1, 2)))


def test_odd_rotation_is_refused(videos: NumberedVideos) -> None:
    with pytest.raises(MediaError, match="odd angle"):
        open_frames(videos.make(count=3, rotation=30))


def test_colours_follow_the_tags_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "colour.mp4"
    colour = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "1"})
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 2
        frame = av.VideoFrame.from_ndarray(colour, "rgb24").reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="JPEG"
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    read = open_frames(path).read(0, 1)[0].astype(int)
    assert np.abs(read - colour).max() <= 4


def test_sound_is_not_a_frame(videos: NumberedVideos) -> None:
    assert open_frames(videos.make(count=30, audio="aac")).count == 30


def test_reading_outside_is_a_bug_of_the_caller(videos: NumberedVideos) -> None:
    frames = open_frames(videos.make(count=5))
    for start, stop in [(-1, 2), (3, 6), (4, 2)]:
        with pytest.raises(ValueError, match="source of 5 frames"):
            frames.read(start, stop)
    assert frames.read(5, 5).shape == (0, videos.height, videos.width, 3)


def test_examples(shared: Path) -> None:
    expectations = {
        "animate_video.mp4": (106, 1080, 1920, Fraction(30)),
        "replace_video.mp4": (164, 720, 1280, Fraction(24)),
    }
    for name, expected in expectations.items():
        frames = open_frames(shared / "data" / "examples" / name)
        assert (frames.count, frames.height, frames.width, frames.rate) == expected
        late = frames.read(frames.count - 2, frames.count)
        assert np.array_equal(frames.read(frames.count - 1, frames.count)[0], late[1])
        frames.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's VmHWM")
def test_memory_does_not_grow_with_length(videos: NumberedVideos) -> None:
    paths = [
        videos.make(f"{count}.mp4", count=count, size=(270, 480), x264="keyint=60:threads=1")
        for count in (60, 900)
    ]
    script = (
        "import pathlib, sys\n"
        "from wan_trt.media import open_frames\n"
        "frames = open_frames(sys.argv[1])\n"
        "for start in range(0, frames.count, 10): frames.read(start, start + 10)\n"
        # getrusage would begin with the peak of this process
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    short, long = (
        int(
            subprocess.run(
                [sys.executable, "-c", script, str(path)],
                check=True,
                capture_output=True,
                env={"PYTHONPATH": "tests/.path"},
                cwd=Path(__file__).parents[2],
            ).stdout
        )
        for path in paths
    )
    # 840 more frames hold 326 MB of pixels.
    assert long - short < 20 * 1024


class TestUnusableVideos:
    def refusal(self, path: Path) -> str:
        with pytest.raises(MediaError) as caught:
            open_frames(path, field="pose")
        message = str(caught.value)
        assert message.startswith("pose: ")
        assert path.name in message
        assert "\n" not in message
        return message

    def test_missing(self, tmp_path: Path) -> None:
        assert "no such file" in self.refusal(tmp_path / "none.mp4")

    def test_folder(self, tmp_path: Path) -> None:
        assert "not a regular file" in self.refusal(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello\n" * 200, bytes(5000)])
    def test_not_a_video(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "text.mp4"
        path.write_bytes(content)
        assert "not a video" in self.refusal(path)

    def test_only_sound(self, tmp_path: Path, videos: NumberedVideos) -> None:
        with av.open(str(videos.make(audio="aac"))) as source:
            path = tmp_path / "sound.mp4"
            with av.open(str(path), "w") as target:
                stream = target.add_stream_from_template(source.streams.audio[0])
                for packet in source.demux(source.streams.audio[0]):
                    if packet.dts is not None:
                        packet.stream = stream
                        target.mux(packet)
        assert "no video stream" in self.refusal(path)

    def test_no_frames(self, tmp_path: Path) -> None:
        path = tmp_path / "empty.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.height = stream.width = 32
            stream.pix_fmt = "yuv420p"
            container.start_encoding()
        self.refusal(path)

    @pytest.mark.parametrize(
        ("part", "faststart"),
        [(0.3, False), (0.9, False), (0.3, True), (0.6, True), (0.9, True), (0.99, True)],
    )
    def test_cut_off(self, videos: NumberedVideos, part: float, faststart: bool) -> None:
        path = videos.make(count=60, faststart=faststart)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])
        self.refusal(path)

    def test_playlists_do_not_reach_other_files(
        self, tmp_path: Path, videos: NumberedVideos
    ) -> None:
        video = videos.make(name="segment.ts")
        playlist = tmp_path / "list.m3u8"
        playlist.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{video.name}\n#EXT-X-ENDLIST\n"
        )
        assert "not a video" in self.refusal(playlist)
        concat = tmp_path / "list.ffconcat"
        concat.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
        assert "not a video" in self.refusal(concat)

    def test_damage_in_the_middle_names_the_frame(self, videos: NumberedVideos) -> None:
        path = videos.make(count=40, x264="keyint=10:bframes=0")
        with av.open(str(path)) as container:
            packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
        content = bytearray(path.read_bytes())
        position, size = packets[20]
        assert position is not None
        content[position : position + size] = b"\xff" * size
        path.write_bytes(content)
        frames = open_frames(path)
        assert videos.numbers(frames.read(0, 20)) == list(range(20))
        with pytest.raises(MediaError, match=r"frame 2[0-9] of 40 cannot be decoded"):
            frames.read(20, 30)
        assert videos.numbers(frames.read(30, 40)) == list(range(30, 40))

    def test_absurd_size(self, tmp_path: Path) -> None:
        path = tmp_path / "wide.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=30)
            stream.height, stream.width, stream.pix_fmt = 2, 8200, "gray"
            frame = av.VideoFrame.from_ndarray(np.zeros((2, 8200), np.uint8), "gray")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        assert "8200x2 pixels" in self.refusal(path)

    def test_nothing_is_printed(self, videos: NumberedVideos) -> None:
        path = videos.make(count=40, faststart=True)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        script = (
            "import sys\nfrom wan_trt.media import open_frames\n"
            "try: open_frames(sys.argv[1])\nexcept ValueError: raise\nexcept Exception: pass\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            check=True,
            capture_output=True,
            env={"PYTHONPATH": "tests/.path"},
            cwd=Path(__file__).parents[2],
        )
        assert done.stdout == done.stderr == b""
