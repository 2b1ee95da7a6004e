"""Outputs: round trips, and that they appear whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from wan_trt.engine.errors import ExecutionError, MediaError, ResourceError
from wan_trt.engine.frames import FrameSink
from wan_trt.media import open_frames, open_pixel_writer, open_sink, to_pixels

COUNT, HEIGHT, WIDTH = 10, 32, 48
NAMES = ["out.mp4", "out.%04d.png", "out.safetensors"]


def smooth_frames(count: int = COUNT) -> NDArray[np.float32]:
    """Float frames in [-1, 1] that a codec can keep: slow gradients."""
    t, y, x, c = np.ogrid[:count, :HEIGHT, :WIDTH, :3]
    frames = np.sin(0.05 * t + 0.04 * y + 0.03 * x + c)
    return frames.astype(np.float32)


def sink_for(path: Path, count: int = COUNT) -> FrameSink:
    return open_sink(path, height=HEIGHT, width=WIDTH, frame_count=count, rate=Fraction(24))


def write(sink: FrameSink, frames: NDArray[np.float32]) -> None:
    """As the decoder does: one frame first, then four at a time."""
    sink.write(frames[:1])
    for start in range(1, len(frames), 4):
        sink.write(frames[start : start + 4])


def test_pixels_are_cut_off_as_upstream() -> None:
    values = np.array([-1.5, -1, -0.999, 0, 0.5, 0.9999, 1, 2], np.float32)
    assert to_pixels(values).tolist() == [0, 0, 0, 127, 191, 254, 255, 255]
    with pytest.raises(ExecutionError, match="NaN"):
        to_pixels(np.array([0, np.nan], np.float32))


class TestRoundTrips:
    def test_tensors(self, tmp_path: Path) -> None:
        path = tmp_path / "out.safetensors"
        frames = smooth_frames()
        latents = [np.random.default_rng(k).random((16, 2 + k, 4, 6), np.float32) for k in (0, 1)]
        sink = sink_for(path)
        sink.write_latents(0, latents[0])
        sink.write(frames[:5])
        sink.write(frames[5:])
        sink.write_latents(1, latents[1])
        sink.close()
        tensors = load_file(path)
        assert sorted(tensors) == ["frames", "latents.0", "latents.1"]
        assert tensors["frames"].dtype == np.float32
        assert np.array_equal(tensors["frames"], frames)
        assert np.array_equal(tensors["latents.0"], latents[0])
        assert np.array_equal(tensors["latents.1"], latents[1])
        assert list(tmp_path.iterdir()) == [path]

    def test_latents_of_one_segment_come_once(self, tmp_path: Path) -> None:
        sink = sink_for(tmp_path / "out.safetensors")
        sink.write_latents(0, np.zeros((16, 1, 2, 2), np.float32))
        with pytest.raises(ValueError, match=r"latents\.0 is written twice"):
            sink.write_latents(0, np.zeros((16, 1, 2, 2), np.float32))
        sink.abort()

    def test_pictures(self, tmp_path: Path) -> None:
        frames = smooth_frames()
        sink = sink_for(tmp_path / "out.%04d.png")
        write(sink, frames)
        sink.write_latents(0, np.zeros((16, 1, 2, 2), np.float32))
        sink.close()
        assert sorted(p.name for p in tmp_path.iterdir())[::9] == ["out.0000.png", "out.0009.png"]
        read = open_frames(tmp_path / "out.%04d.png").read(0, COUNT)
        assert np.array_equal(read, to_pixels(frames))

    @pytest.mark.parametrize("rate", [Fraction(30), Fraction(24000, 1001), Fraction(16)])
    def test_video(self, tmp_path: Path, rate: Fraction) -> None:
        path, frames = tmp_path / "out.mp4", smooth_frames()
        sink = open_sink(path, height=HEIGHT, width=WIDTH, frame_count=COUNT, rate=rate)
        write(sink, frames)
        sink.close()
        source = open_frames(path)
        assert (source.count, source.height, source.width) == (COUNT, HEIGHT, WIDTH)
        assert source.rate == rate
        difference = source.read(0, COUNT).astype(int) - to_pixels(frames)
        assert np.abs(difference).mean() < 2
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == rate
            assert stream.codec_context.name == "h264"
            assert stream.codec_context.pix_fmt == "yuv420p"
            assert stream.codec_context.colorspace == 1
            assert not container.streams.audio
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")

    def test_a_video_without_a_clock_gets_30(self, tmp_path: Path) -> None:
        path = tmp_path / "out.mp4"
        sink = open_sink(path, height=HEIGHT, width=WIDTH, frame_count=COUNT)
        sink.write(smooth_frames())
        sink.close()
        assert open_frames(path).rate == 30

    @pytest.mark.parametrize("name", ["out.%d.png", "out.safetensors"])
    def test_pixels_survive(self, tmp_path: Path, name: str) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), np.uint8)
        writer = open_pixel_writer(tmp_path / name, height=5, width=7, frame_count=4)
        writer.write(pixels[:3])
        writer.write(pixels[3:])
        writer.close()
        assert np.array_equal(open_frames(tmp_path / name).read(0, 4), pixels)


@pytest.mark.parametrize("name", NAMES)
class TestWholeOrNotAtAll:
    def visible(self, folder: Path) -> list[str]:
        return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))

    def test_nothing_before_close(self, tmp_path: Path, name: str) -> None:
        sink = sink_for(tmp_path / name)
        write(sink, smooth_frames())
        assert self.visible(tmp_path) == []
        sink.close()
        assert self.visible(tmp_path) != []
        assert len(self.visible(tmp_path)) == len(list(tmp_path.iterdir()))

    @pytest.mark.parametrize("written", [0, 3, COUNT])
    def test_abort_leaves_nothing(self, tmp_path: Path, name: str, written: int) -> None:
        sink = sink_for(tmp_path / name)
        sink.write(smooth_frames()[:written])
        sink.abort()
        sink.abort()
        assert list(tmp_path.iterdir()) == []

    def test_closing_early_is_an_error_and_leaves_nothing(self, tmp_path: Path, name: str) -> None:
        sink = sink_for(tmp_path / name)
        sink.write(smooth_frames()[:3])
        with pytest.raises(ExecutionError, match="after 3 frames; expected 10"):
            sink.close()
        assert list(tmp_path.iterdir()) == []

    def test_abort_after_close_keeps_the_result(self, tmp_path: Path, name: str) -> None:
        sink = sink_for(tmp_path / name)
        write(sink, smooth_frames())
        sink.close()
        before = self.visible(tmp_path)
        sink.close()
        sink.abort()
        assert self.visible(tmp_path) == before

    def test_an_old_result_is_replaced_at_the_end(self, tmp_path: Path, name: str) -> None:
        target = tmp_path / name.replace("%04d", "0000")
        target.write_bytes(b"old")
        sink = sink_for(tmp_path / name)
        write(sink, smooth_frames())
        assert target.read_bytes() == b"old"
        sink.close()
        assert len(target.read_bytes()) > 3

    def test_an_old_result_survives_abort(self, tmp_path: Path, name: str) -> None:
        target = tmp_path / name.replace("%04d", "0000")
        target.write_bytes(b"old")
        sink = sink_for(tmp_path / name)
        write(sink, smooth_frames())
        sink.abort()
        assert target.read_bytes() == b"old"

    def test_a_killed_process_leaves_nothing_under_the_name(
        self, tmp_path: Path, name: str
    ) -> None:
        script = (
            "import os, sys, numpy as np\n"
            "from wan_trt.media import open_sink\n"
            "sink = open_sink(sys.argv[1], height=32, width=48, frame_count=100)\n"
            "sink.write(np.zeros((99, 32, 48, 3), np.float32))\n"
            f"os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / name)],
            check=False,
            env={"PYTHONPATH": "tests/.path"},
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == -signal.SIGKILL
        assert self.visible(tmp_path) == []

    def test_permissions_follow_the_umask(self, tmp_path: Path, name: str) -> None:
        sink = sink_for(tmp_path / name)
        write(sink, smooth_frames())
        sink.close()
        mode = stat.S_IMODE((tmp_path / self.visible(tmp_path)[0]).stat().st_mode)
        umask = os.umask(0)
        os.umask(umask)
        assert mode == 0o666 & ~umask

    def test_wrong_frames_are_a_bug_of_the_caller(self, tmp_path: Path, name: str) -> None:
        sink = sink_for(tmp_path / name)
        with pytest.raises(ValueError, match="frames must be"):
            sink.write(np.zeros((1, 8, 8, 3), np.float32))
        with pytest.raises(ValueError, match="11 frames for an output of 10"):
            sink.write(smooth_frames(11))
        sink.abort()

    def test_missing_folder(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(MediaError, match=r"out: .*does not exist") as caught:
            sink_for(tmp_path / "nowhere" / name)
        assert caught.value.field == "out"


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sink = sink_for(tmp_path / "out.mp4")
    write(sink, smooth_frames())
    sink.close()
    assert capfd.readouterr() == ("", "")


class TestUnusableOutputs:
    @pytest.mark.parametrize("name", ["out", "out.gif", "out.avi", "out.%04d.jpg"])
    def test_unknown_type(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(MediaError, match=r"out: .*type"):
            sink_for(tmp_path / name)

    def test_folder(self, tmp_path: Path) -> None:
        (tmp_path / "out.mp4").mkdir()
        with pytest.raises(MediaError, match=r"out: .*: a folder"):
            sink_for(tmp_path / "out.mp4")

    @pytest.mark.parametrize("suffix", [".mp4", ".%04d.png", ".safetensors"])
    def test_long_names(self, tmp_path: Path, suffix: str) -> None:
        with pytest.raises(MediaError, match="too long"):
            sink_for(tmp_path / ("x" * 260 + suffix))
        sink = sink_for(tmp_path / ("x" * 240 + suffix))
        write(sink, smooth_frames())
        sink.close()

    def test_odd_sides(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="even sides"):
            open_sink(tmp_path / "out.mp4", height=31, width=48, frame_count=1)
        assert list(tmp_path.iterdir()) == []

    def test_impossible_rate(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="rate of -1"):
            open_sink(tmp_path / "a.mp4", height=32, width=32, frame_count=1, rate=Fraction(-1))

    def test_rest_of_a_longer_sequence(self, tmp_path: Path) -> None:
        (tmp_path / "out.0010.png").write_bytes(b"old")
        with pytest.raises(MediaError, match=r"out\.0010\.png: left of an older"):
            sink_for(tmp_path / "out.%04d.png")

    def test_disk_too_full(self, tmp_path: Path) -> None:
        with pytest.raises(
            ResourceError, match=r"out\.safetensors needs \d+ bytes and \d+ are free"
        ):
            sink_for(tmp_path / "out.safetensors", count=1 << 40)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
    def test_disk_filling_up(self, tmp_path: Path) -> None:
        sink = sink_for(tmp_path / "out.%04d.png")
        folder = next(tmp_path.iterdir())
        (folder / "1").symlink_to("/dev/full")
        with pytest.raises(ResourceError, match="No space left"):
            sink.write(smooth_frames())
        sink.abort()
        assert list(tmp_path.iterdir()) == []
