"""What media may do to a server: end their own job with one typed error."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from serving import FRAMES, SIZE, MakeServer, MakeSubmission

from wan_trt.engine import JobState
from wan_trt.engine.errors import MediaError, MediaLimitError
from wan_trt.media import MediaLimits
from wan_trt.media.isolation import IsolatedMedia
from wan_trt.server.client import Client
from wan_trt.server.jobs import JobOptions
from wan_trt.server.media_options import MediaOptions
from wan_trt.server.server import Server


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
