"""An image-to-video model behind the same API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from serving import MediaFiles

from wan_trt.engine import Bundle, CollectedFrames, Engine, ImageToVideoRequest
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import IMAGE_TO_VIDEO_SAMPLING
from wan_trt.media import read_image
from wan_trt.server.address import Address
from wan_trt.server.client import Client
from wan_trt.server.server import Server, ServerOptions
from wan_trt.server.submission import OutputFormat, Submission

CHOICES = RequestChoices(sampling=SamplingChoices(steps=2), seed=3, frames=5, area=48 * 32)


@pytest.fixture
def client(i2v_bundle: Bundle, tmp_path: Path) -> Iterator[Client]:
    engine = Engine(i2v_bundle, threads=1)
    options = ServerOptions(Address("127.0.0.1", 0), farewell_s=1.0)
    with (
        Server(engine, tmp_path / "data", options) as server,
        Client(str(server.address), timeout_s=60) as client,
    ):
        yield client


def test_a_video_that_ends_with_a_picture(
    client: Client, i2v_bundle: Bundle, media_files: MediaFiles, tmp_path: Path
) -> None:
    picture = client.upload(media_files.reference)
    job_id = client.submit(
        Submission(
            reference=picture,
            last_frame=picture,
            choices=CHOICES,
            output_format=OutputFormat.FLOAT32,
        )
    )
    client.wait(job_id)
    client.fetch(job_id, tmp_path / "out.safetensors")

    image = read_image(media_files.reference)
    sink = CollectedFrames()
    with Engine(i2v_bundle, threads=1) as engine:
        request = ImageToVideoRequest(
            reference=image,
            last_frame=image,
            frames=5,
            area=48 * 32,
            sampling=CHOICES.sampling.over(IMAGE_TO_VIDEO_SAMPLING),
            seed=3,
        )
        engine.generate(request, sink)
    np.testing.assert_array_equal(load_file(tmp_path / "out.safetensors")["frames"], sink.frames)


def test_what_the_model_has_no_use_for(client: Client, media_files: MediaFiles) -> None:
    submission = Submission(
        reference=client.upload(media_files.reference), pose=client.upload(media_files.pose)
    )
    with pytest.raises(InputError, match="given, but the bundle holds wan2") as raised:
        client.submit(submission)
    assert raised.value.field == "pose"
