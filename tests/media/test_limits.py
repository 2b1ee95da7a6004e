"""Hostile and absurd files: refused by what their headers say, each by one typed error."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from wan_trt.engine.errors import InputError, MediaError, MediaLimitError
from wan_trt.engine.frames import FrameSource
from wan_trt.media import MediaLimits, MediaReader
from wan_trt.media.isolation import IsolatedMedia
from wan_trt.media.limits import GENEROUS

if TYPE_CHECKING:
    from media.conftest import NumberedVideos

PATH = Path("video.mp4")


class TestChecks:
    @pytest.mark.parametrize(
        ("check", "limit"),
        [
            (lambda at: at.check_nbytes(PATH, (8 << 30) + 1, "pose"), "nbytes"),
            (lambda at: at.check_picture(PATH, 9 << 20, 9000, 9000, "pose"), "picture_pixels"),
            (lambda at: at.check_picture(PATH, 100, 4000, 4000, "pose"), "picture_ratio"),
            (lambda at: at.check_frame(PATH, 4320, 7680, "pose"), "frame_pixels"),
            (lambda at: at.check_count(PATH, 18_001, "pose"), "frames"),
            (lambda at: at.check_duration(PATH, 1200.5, "pose"), "duration_s"),
            (lambda at: at.check_duration(PATH, float("nan"), "pose"), "duration_s"),
            (lambda at: at.check_video(PATH, 100, 18_000, 1080, 1920, "pose"), "video_ratio"),
            (lambda at: at.check_video(PATH, 1 << 30, 18_001, 10, 10, "pose"), "frames"),
        ],
    )
    def test_each_limit_has_its_error(
        self, check: Callable[[MediaLimits], None], limit: str
    ) -> None:
        with pytest.raises(MediaLimitError, match=rf"pose: video.mp4: .*at most .*\({limit}\)"):
            check(MediaLimits())

    def test_whoever_runs_the_program_may_read_what_readers_can(self) -> None:
        GENEROUS.check_nbytes(PATH, 1 << 60, None)
        GENEROUS.check_video(PATH, 1, 10**9, 8192, 8192, None)
        GENEROUS.check_picture(PATH, 1, 8192, 8192, None)
        GENEROUS.check_duration(PATH, 1e9, None)

    def test_what_wan_needs_is_allowed(self) -> None:
        limits = MediaLimits()
        limits.check_video(PATH, 50 << 20, 18_000, 2160, 3840, None)
        limits.check_video(PATH, 40 * 300, 300, 1080, 1920, None)  # a mask that never changes
        limits.check_picture(PATH, 10_000, 1080, 1920, None)  # one colour
        limits.check_picture(PATH, 10 << 20, 8000, 6000, None)


def png_chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows, 9))
        + png_chunk(b"IEND", b"")
    )


def safetensors(tensors: dict[str, object], content: bytes = b"") -> bytes:
    header = json.dumps(tensors).encode()
    return struct.pack("<Q", len(header)) + header + content


def tensor(shape: list[int], begin: int, end: int, dtype: str = "U8") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.fixture(scope="module")
def media() -> Iterator[IsolatedMedia]:
    """One process for all hostile files of this module: none of them may harm it."""
    media = IsolatedMedia()
    yield media
    media.close()


def refusal(media: MediaReader, path: Path, kind: type[MediaError] = MediaError) -> str:
    with pytest.raises(MediaError) as caught:
        (media.image if path.stem.startswith("picture") else media.frames)(path, "pose")
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.startswith("pose: ")
    assert "\n" not in message
    assert "no more" not in message, "the process died of it"
    return message


CONTENTS: dict[str, tuple[str, bytes, type[MediaError], str]] = {
    "png-100k": ("picture.png", png(100_000, 100_000), MediaError, "100000x100000|absurd size"),
    "png-of-8192": ("picture.png", png(8192, 8192), MediaLimitError, "picture_pixels"),
    "png-bomb": (
        *("picture.png", png(7000, 7000, bytes(1 << 20)), MediaLimitError),
        "picture_ratio",
    ),
    "png-cut-off": ("picture.png", png(64, 64, bytes(700)), MediaError, "cannot be decoded"),
    "png-as-frames": ("a.png", png(100_000, 1), MediaError, "100000x1 pixels"),
    "nothing": ("picture.png", b"", MediaError, "not a picture"),
    "no-video": ("a.mp4", b"", MediaError, "not a video"),
    "no-tensor": ("a.safetensors", b"", MediaError, "not a whole safetensors"),
    "text": ("picture.jpg", b"hello" * 99, MediaError, "not a picture"),
    "tensor-too-short": (
        *("a.safetensors", safetensors({"frames": tensor([9, 9, 9, 3], 0, 2187)}), MediaError),
        "not a whole safetensors",
    ),
    "tensor-overlap": (
        "a.safetensors",
        safetensors(
            {"frames": tensor([1, 4, 4, 3], 0, 48), "more": tensor([4], 46, 50)}, bytes(50)
        ),
        MediaError,
        "not a whole safetensors",
    ),
    "tensor-of-exabytes": (
        *("a.safetensors", safetensors({"frames": tensor([1 << 40, 1 << 20, 1 << 20, 3], 0, 9)})),
        *(MediaError, "not a whole safetensors"),
    ),
    "header-of-exabytes": (
        *("a.safetensors", struct.pack("<Q", 1 << 60) + b"{}", MediaError),
        "not a whole safetensors",
    ),
    "header-of-2-MB": (
        "a.safetensors",
        safetensors({"__metadata__": {"a": "x" * (2 << 20)}}),
        *(MediaError, "header of"),
    ),
    "many-frames": (
        "a.safetensors",
        safetensors({"frames": tensor([20_000, 1, 1, 3], 0, 60_000)}, bytes(60_000)),
        *(MediaLimitError, "frames"),
    ),
}


@pytest.mark.parametrize(("name", "content", "kind", "words"), CONTENTS.values(), ids=CONTENTS)
def test_hostile_contents(
    media: IsolatedMedia,
    tmp_path: Path,
    name: str,
    content: bytes,
    kind: type[MediaError],
    words: str,
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(media, path, kind)
    assert any(word in message for word in words.split("|"))


class TestVideos:
    def test_a_header_that_claims_absurd_frames(
        self, media: IsolatedMedia, videos: NumberedVideos
    ) -> None:
        path = videos.make(count=5)
        content = bytearray(path.read_bytes())
        entry = content.index(b"avc1", content.index(b"stsd"))
        content[entry + 28 : entry + 32] = struct.pack(">HH", 65535, 65535)
        track = content.index(b"tkhd")
        content[track + 80 : track + 88] = struct.pack(">II", 65535 << 16, 65535 << 16)
        path.write_bytes(content)
        # FFmpeg may believe the stream instead: then the video is as small as it really is.
        frames = opened_or_refused(media, path)
        assert frames is None or (frames.height, frames.width) == (48, 64)

    def test_a_table_that_claims_too_many_frames(
        self, media: IsolatedMedia, videos: NumberedVideos
    ) -> None:
        path = videos.make(count=5)
        content = bytearray(path.read_bytes())
        at = content.index(b"stts")
        content[at + 12 : at + 16] = struct.pack(">I", 1 << 30)
        path.write_bytes(content)
        frames = opened_or_refused(media, path)
        assert frames is None or frames.count == 5

    def test_a_declared_length_of_an_exabyte(
        self, media: IsolatedMedia, videos: NumberedVideos
    ) -> None:
        path = videos.make(count=5)
        content = path.read_bytes()
        at = content.index(b"mdat") - 4
        huge = struct.pack(">I4sQ", 1, b"mdat", 1 << 60)
        path.write_bytes(content[:at] + huge + content[at + 8 :])
        frames = opened_or_refused(media, path)
        assert frames is None or frames.count == 5

    def test_frames_that_are_days_apart(self, media: IsolatedMedia, videos: NumberedVideos) -> None:
        path = videos.make(count=3, timestamps_ms=[0, 33, 1_500_000])
        assert "duration_s" in refusal(media, path, MediaLimitError)

    def test_too_many_too_large_too_long(self, videos: NumberedVideos) -> None:
        path = videos.make(count=40)
        for limit, most in {
            "frames": 39,
            "frame_pixels": 3071,
            "duration_s": 1.2,
            "nbytes": 99,
        }.items():
            few = IsolatedMedia(MediaLimits(**{limit: most}))
            assert limit in refusal(few, path, MediaLimitError)
            few.close()

    def test_a_stream_that_grows_on_the_way(self, tmp_path: Path, videos: NumberedVideos) -> None:
        """The header says 64x48; in the middle there are frames of 512x512."""
        small, large = (
            videos.make("small.h264", count=4),
            videos.make("large.h264", count=4, size=(512, 512)),
        )
        path = tmp_path / "grows.h264"
        path.write_bytes(small.read_bytes() + large.read_bytes())
        media = IsolatedMedia(MediaLimits(frame_pixels=5000))
        frames = opened_or_refused(media, path)
        if frames is not None:
            with pytest.raises(MediaError, match="pose"):
                frames.read(4, 8)
        media.close()

    def test_one_pixel(self, media: IsolatedMedia, tmp_path: Path) -> None:
        Image.new("RGB", (1, 1), "red").save(tmp_path / "picture.png")
        assert media.image(tmp_path / "picture.png").tolist() == [[[255, 0, 0]]]
        with av.open(str(tmp_path / "a.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=30)
            stream.height, stream.width, stream.pix_fmt = 1, 1, "gray"
            frame = av.VideoFrame.from_ndarray(np.full((1, 1), 9, np.uint8), "gray")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        assert media.frames(tmp_path / "a.mkv").read(0, 1).shape == (1, 1, 1, 3)

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
    def test_cut_off(self, media: IsolatedMedia, videos: NumberedVideos, part: float) -> None:
        path = videos.make(count=30)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)])
        refusal(media, path)


def opened_or_refused(media: IsolatedMedia, path: Path) -> FrameSource | None:
    """Where a lie may be overlooked or found, but must not harm the process."""
    try:
        return media.frames(path, "pose")
    except MediaError as error:
        if "no more" in str(error):
            raise
        return None


def test_suffixes_that_lie(media: IsolatedMedia, videos: NumberedVideos, tmp_path: Path) -> None:
    video = videos.make(count=5)
    for name in ("picture.png", "a.safetensors"):
        (tmp_path / name).write_bytes(video.read_bytes())
        refusal(media, tmp_path / name)
    save_file({"frames": np.zeros((2, 4, 4, 3), np.uint8)}, tmp_path / "tensor.mp4")
    refusal(media, tmp_path / "tensor.mp4")


def test_noise_that_is_none(media: IsolatedMedia, tmp_path: Path) -> None:
    path = tmp_path / "noise.safetensors"
    save_file({"segment.0": np.full((2, 1, 2, 2), np.nan, np.float32)}, path)
    noise = media.noise(path)
    with pytest.raises(InputError, match=r"noise: .*NaN"):
        noise.segment(0, (2, 1, 2, 2))
    path.write_bytes(safetensors({"segment.0": tensor([1, 1, 1, 9], 0, 9)}, bytes(9)))
    with pytest.raises(InputError, match=r"noise: .*U8"):
        media.noise(path)
