"""Previews: for who asks, while they look."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from serving import SIZE, MakeSubmission
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.server.client import Client
from wan_trt.server.previews import PreviewOptions, first_frame, preview_message
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc

RAW, PNG, JPEG = wire.PICTURE_FORMAT_RAW, wire.PICTURE_FORMAT_PNG, wire.PICTURE_FORMAT_JPEG


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: what the frames show is of no matter here."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def stub(client: Client) -> Iterator[Any]:
    make: Any = wire_grpc.VideoServiceStub
    with grpc.insecure_channel(client.target) as channel:
        yield make(channel)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs of which the engine looked at what comes out."""
    made: list[str] = []
    look = Pipeline.clean_estimate

    def looking(pipeline: Pipeline, job: Any) -> Any:
        made.append(job.job_id)
        return look(pipeline, job)

    monkeypatch.setattr(Pipeline, "clean_estimate", looking)
    return made


def test_a_watcher_sees_what_is_made(
    stub: Any, client: Client, make_submission: MakeSubmission, made: list[str]
) -> None:
    job_id = client.submit(make_submission(client, steps=20))
    asked = wire.PreviewRequest(format=RAW, max_pictures=9)
    events = list(stub.Watch(wire.WatchRequest(job_id=job_id, preview=asked), timeout=60))
    shown = [event for event in events if event.HasField("preview")]
    assert shown
    assert 0 < len(shown) <= len(made) <= 2 * 20
    for event in shown:
        preview = event.preview
        assert event.stage == "denoise"
        assert (preview.height, preview.width) == (SIZE[0] // 8, SIZE[1] // 8)
        assert list(preview.frames) == [0, 1]  # 5 frames are 2 latents
        assert {len(picture) for picture in preview.pictures} == {SIZE[0] * SIZE[1] * 3 // 64}
    told = [event.sequence for event in events if not event.HasField("preview")]
    assert told == list(range(1, len(told) + 1))
    assert {event.sequence for event in shown} <= set(told)


def test_nobody_who_asks_nothing_made(
    client: Client, make_submission: MakeSubmission, made: list[str]
) -> None:
    client.wait(client.submit(make_submission(client)))
    assert made == []


def test_a_finished_job_has_none(
    stub: Any, client: Client, make_submission: MakeSubmission
) -> None:
    job_id = client.submit(make_submission(client))
    client.wait(job_id)
    asked = wire.WatchRequest(job_id=job_id, preview=wire.PreviewRequest())
    assert not any(event.HasField("preview") for event in stub.Watch(asked, timeout=60))


@pytest.mark.parametrize(
    ("asked", "field"),
    [({"format": 99}, "preview.format"), ({"max_pictures": -1}, "max_pictures")],
)
def test_requests_that_make_no_sense(
    stub: Any, client: Client, make_submission: MakeSubmission, asked: dict[str, Any], field: str
) -> None:
    job_id = client.submit(make_submission(client))
    with pytest.raises(grpc.RpcError, match=field):
        list(stub.Watch(wire.WatchRequest(job_id=job_id, preview=wire.PreviewRequest(**asked))))


def opened(picture: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(picture)))


@pytest.mark.parametrize(
    ("kind", "read", "tolerance"),
    [
        (PNG, opened, 0),
        (RAW, lambda picture: np.frombuffer(picture, np.uint8).reshape(8, 16, 3), 0),
        (JPEG, opened, 8),
    ],
)
def test_pictures_are_those_of_the_latents(
    kind: wire.PictureFormat, read: Callable[[bytes], Any], tolerance: int
) -> None:
    pictures = np.stack([np.full((8, 16, 3), 40 * n, np.uint8) for n in range(5)])
    preview = preview_message(pictures, PreviewOptions(kind, 5))
    shown = np.stack([read(picture) for picture in preview.pictures]).astype(int)
    assert abs(shown - pictures).max() <= tolerance
    assert list(preview.frames) == [first_frame(n) for n in range(5)] == [0, 1, 5, 9, 13]


def test_no_more_is_sent_than_fits() -> None:
    pictures = np.zeros((21, 200, 300, 3), np.uint8)
    assert len(preview_message(pictures, PreviewOptions(RAW, 21)).pictures) == 5
    (only,) = preview_message(pictures, PreviewOptions(RAW)).frames
    assert only == first_frame(10)  # the middle one
