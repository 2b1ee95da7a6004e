"""What media may do to a server: end their own job with one typed error."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from serving import FRAMES, SIZE, MakeServer, MakeSubmission
from sounding_video import tone, write_sounding_video

from wan_trt.engine import JobState
from wan_trt.engine.errors import MediaError, MediaLimitError
from wan_trt.media import MediaLimits
from wan_trt.media.isolation import IsolatedMedia
from wan_trt.server.client import Client
from wan_trt.server.jobs import JobOptions
from wan_trt.server.media_options import MediaOptions
from wan_trt.server.server import Server
from wan_trt.server.submission import OutputFormat


def readers(server: Server) -> set[int]:
    """Process ids of those that read the media of the jobs that are there."""
    (bundle,) = server._bundles.served
    found = [opened.media for opened in bundle.intake._opened.values()]
    return {media.pid for media in found if isinstance(media, IsolatedMedia) and media.pid}


def test_a_reader_that_dies_ends_its_job_and_no_other(
    server: Server, client: Client, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    neighbour = client.submit(make_submission(client, steps=30))
    (others,) = readers(server)
    doomed = client.submit(make_submission(client, steps=30, seed=4))
    (dying,) = readers(server) - {others}
    os.kill(dying, signal.SIGKILL)
    *_, last = client.watch(doomed)
    assert last.state is JobState.FAILED
    assert isinstance(last.error, MediaError)
    assert "pose.safetensors" in str(last.error) or "face.safetensors" in str(last.error)
    assert "SIGKILL" in str(last.error)
    *_, last = client.watch(neighbour)
    assert last.state is JobState.DONE, last.error
    client.fetch(neighbour, tmp_path / "out.safetensors")
    assert readers(server) == set()
    for pid in (others, dying):
        assert not Path(f"/proc/{pid}").exists()


def test_limits_of_a_server(
    make_server: MakeServer, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    limits = MediaLimits(frames=FRAMES, picture_pixels=SIZE[0] * SIZE[1] + 300)
    server = make_server(jobs=JobOptions(media=MediaOptions(limits)))
    Image.new("RGB", (50, 50)).save(tmp_path / "large.png")
    frames = np.zeros((FRAMES + 1, *SIZE, 3), np.uint8)
    save_file({"frames": frames}, tmp_path / "long.safetensors")
    with Client(str(server.address), timeout_s=60) as client:
        for field, name, limit in (
            ("reference", "large.png", "picture_pixels"),
            ("pose", "long.safetensors", "frames"),
        ):
            upload = client.upload(tmp_path / name)
            with pytest.raises(MediaLimitError, match=rf"{field}: {name}: .*\({limit}\)") as raised:
                client.submit(make_submission(client, **{field: upload}))
            assert raised.value.field == field
        assert readers(server) == set()
        *_, last = client.watch(client.submit(make_submission(client)))
        assert last.state is JobState.DONE


@pytest.mark.parametrize(("codec", "expected"), [("aac", "aac"), ("pcm_f32le", "aac")])
def test_sound_is_carried_over_and_opened_by_the_reader_alone(
    client: Client,
    make_submission: MakeSubmission,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    codec: str,
    expected: str,
) -> None:
    driving = write_sounding_video(tmp_path / "pose.mkv", FRAMES, SIZE, codec, tone(2.0))
    opened = []
    av_open: Any = av.open

    def noting(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        opened.append(mode)
        return av_open(file, mode, *rest, **options)

    with monkeypatch.context() as noted:
        noted.setattr(av, "open", noting)
        submission = make_submission(
            client, pose=client.upload(driving), output_format=OutputFormat.MP4
        )
        job_id = client.submit(submission)
        *_, last = client.watch(job_id)
    assert last.state is JobState.DONE, last.error
    assert set(opened) == {"w"}  # of what it writes; all that is read, another process reads
    client.fetch(job_id, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        (sound,) = container.streams.audio
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(sound)])
    assert sound.codec_context.name == expected
    assert 0.6 < len(samples) / sound.sample_rate / Fraction(FRAMES, 24) < 1.2
    assert np.abs(samples).max() > 0.4


def test_hostile_sound_is_refused_and_the_server_serves_on(
    client: Client, server: Server, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    nan = np.full(96000, np.nan, np.float32)
    nothing = write_sounding_video(tmp_path / "nan.mkv", FRAMES, SIZE, "pcm_f32le", nan)
    holed = write_sounding_video(tmp_path / "holed.mkv", FRAMES, SIZE, "flac", tone(2.0))
    content = bytearray(holed.read_bytes())
    middle = len(content) * 2 // 3
    content[middle : middle + 8000] = bytes(8000)
    holed.write_bytes(content)
    for path in (nothing, holed):
        upload = client.upload(path)
        with pytest.raises(MediaError, match=rf"pose: {path.name}: .*sound") as raised:
            client.submit(make_submission(client, pose=upload, output_format=OutputFormat.MP4))
        assert raised.value.field == "pose"
    assert readers(server) == set()
    good = write_sounding_video(tmp_path / "good.mkv", FRAMES, SIZE, "flac", tone(2.0))
    job = make_submission(client, pose=client.upload(good), output_format=OutputFormat.MP4)
    *_, last = client.watch(client.submit(job))
    assert last.state is JobState.DONE, last.error


def test_a_reader_that_dies_before_the_sound_was_read(
    client: Client, server: Server, make_submission: MakeSubmission, tmp_path: Path
) -> None:
    driving = write_sounding_video(tmp_path / "pose.mkv", FRAMES, SIZE, "flac", tone(2.0))
    submission = make_submission(
        client, steps=40, pose=client.upload(driving), output_format=OutputFormat.MP4
    )
    doomed = client.submit(submission)
    for event in client.watch(doomed):
        if event.step >= 1:
            (dying,) = readers(server)
            os.kill(dying, signal.SIGKILL)
            break
    *_, last = client.watch(doomed)
    assert isinstance(last.error, MediaError)
    assert last.error.field in {"pose", "face"}
    assert "SIGKILL" in str(last.error)
