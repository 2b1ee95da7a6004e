"""Results, raw frames and pictures of a job, while it runs and after."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from durable import Life, write_media
from numpy.typing import NDArray
from PIL import Image
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle, JobState
from wan_trt.engine.errors import CancelledError, InputError
from wan_trt.server import artifacts
from wan_trt.server.client import Client
from wan_trt.server.errors import NotReadyError
from wan_trt.server.job_record import JobRecord
from wan_trt.server.principal import EVERYBODY
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.submission import OutputFormat

FRAMES = 9  # two segments of 5 that share one


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: what the frames show is of no matter here."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def life(tiny_bundle: Bundle, memory_folder: Path) -> Iterator[Life]:
    life = Life(tiny_bundle, memory_folder / "data")
    yield life
    life.stop()


@pytest.fixture
def submit(life: Life, tmp_path: Path) -> Callable[..., JobRecord]:
    media = write_media(tmp_path, frames=FRAMES)
    return lambda output_format: life.submit(media, steps=1, output_format=output_format)


def wanted() -> bool:
    return True


def content(chunks: Iterator[artifacts.Chunk]) -> bytes:
    return b"".join(chunk.content for chunk in chunks)


def raw(record: JobRecord, offset: int = 0, follow: bool = False) -> bytes:
    return content(artifacts.frames(record, offset, follow, wanted))


def step_until_a_segment_is_there(life: Life, record: JobRecord) -> None:
    while not record.segments:
        life.engine.step()


def test_frames_of_a_job_that_runs(life: Life, submit: Callable[..., JobRecord]) -> None:
    record = submit(OutputFormat.UINT8)
    assert record.video is not None
    assert raw(record) == b""
    step_until_a_segment_is_there(life, record)
    early = raw(record)
    assert len(early) == 5 * record.video.frame_nbytes
    life.run()
    whole = raw(record)
    assert len(whole) == record.video.nbytes
    assert whole.startswith(early)
    assert raw(record, offset=1000) == whole[1000:]
    with pytest.raises(InputError, match=f"offset: -1; expected 0 to {len(whole)}"):
        raw(record, offset=-1)


@pytest.mark.parametrize("kind", [OutputFormat.MP4, OutputFormat.PNG])
def test_frames_of_an_encoded_result_are_there_while_it_runs(
    kind: OutputFormat, life: Life, submit: Callable[..., JobRecord]
) -> None:
    record = submit(kind)
    step_until_a_segment_is_there(life, record)
    following = artifacts.frames(record, 0, True, wanted)
    first = next(following)
    life.run()
    assert record.latest.state is JobState.DONE
    assert len(first.content + content(following)) == first.nbytes
    with pytest.raises(NotReadyError, match=f"kept as {kind.value} only"):
        raw(record)
    assert [path.name for path in record.path.parent.iterdir()] == [record.path.name]


def pictures(archive: bytes) -> NDArray[np.uint8]:
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        assert files.namelist() == [f"{number:06}.png" for number in range(FRAMES)]
        return np.stack([np.asarray(Image.open(files.open(name))) for name in files.namelist()])


def test_all_forms_of_a_result_show_the_same_frames(
    life: Life, submit: Callable[..., JobRecord]
) -> None:
    forms = (OutputFormat.RAW, OutputFormat.PNG, OutputFormat.UINT8)
    records = {kind: submit(kind) for kind in forms}
    life.run()
    whole = raw(records[OutputFormat.UINT8])
    assert records[OutputFormat.RAW].path.read_bytes() == whole
    assert raw(records[OutputFormat.RAW], 7) == whole[7:]
    images = pictures(records[OutputFormat.PNG].path.read_bytes())
    assert images.tobytes() == whole
    for kind in forms:
        picture = content(artifacts.image(records[kind], 3, 0, False, wanted))
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(picture))), images[3])


def test_pictures_that_are_not_there(life: Life, submit: Callable[..., JobRecord]) -> None:
    record, floats = submit(OutputFormat.RAW), submit(OutputFormat.FLOAT32)
    with pytest.raises(NotReadyError, match=r"frame 0 .* not decoded yet"):
        content(artifacts.image(record, 0, 0, False, wanted))
    with pytest.raises(InputError, match=f"frame: {FRAMES}; expected 0 to {FRAMES - 1}"):
        content(artifacts.image(record, FRAMES, 0, False, wanted))
    with pytest.raises(InputError, match="artifact: a picture of a float32 result"):
        content(artifacts.image(floats, 0, 0, False, wanted))
    life.jobs.cancel(record.job_id, EVERYBODY)
    life.run()
    with pytest.raises(CancelledError):
        content(artifacts.image(record, 0, 0, True, wanted))
    with pytest.raises(CancelledError):
        raw(record, follow=True)


def test_following_over_the_wire(client: Client, make_submission: Any) -> None:
    """Who follows needs no Watch: the frames come as they are made, then the result."""
    job_id = client.submit(make_submission(client, output_format=OutputFormat.RAW))
    make: Any = wire_grpc.VideoServiceStub
    with grpc.insecure_channel(client.target) as channel:
        fetch = make(channel).Fetch
        asked = wire.FetchRequest(job_id=job_id, follow=True)
        result = fetch(asked, timeout=60)
        asked.artifact = wire.ARTIFACT_FRAMES
        frames = fetch(asked, timeout=60)
        assert b"".join(one.chunk for one in frames) == b"".join(one.chunk for one in result)
