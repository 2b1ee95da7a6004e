"""Every method of the API, called by somebody who only asked the server what there is."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from reflected_client import Json, ReflectedClient
from safetensors.numpy import load
from serving import FRAMES, SIZE, MediaFiles
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle
from wan_trt.server.server import Server


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: what the frames show is of no matter here."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def anybody(server: Server) -> Iterator[ReflectedClient]:
    with grpc.insecure_channel(str(server.address)) as channel:
        yield ReflectedClient(channel, "wan_trt.v1.VideoService")


def send(client: ReflectedClient, file: Path) -> str:
    content = file.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    named = {"name": file.name, "sha256": sha256}
    assert client.call("UploadStatus", named) == {}
    messages: list[Json] = [{"header": {**named, "nbytes": str(len(content))}}]
    messages += [
        {"chunk": base64.b64encode(content[start : start + (1 << 20)]).decode()}
        for start in range(0, len(content), 1 << 20)
    ]
    upload_id = client.call("Upload", messages)["upload_id"]
    assert client.call("UploadStatus", named) == {
        "upload_id": upload_id,
        "received_nbytes": str(len(content)),
    }
    return str(upload_id)


def content_of(answers: Iterable[Json]) -> bytes:
    return b"".join(base64.b64decode(answer["chunk"]) for answer in answers)


def test_every_method(anybody: ReflectedClient, media_files: MediaFiles) -> None:
    assert anybody.methods == {
        *("Upload", "UploadStatus", "Submit", "Get", "List", "Watch", "Cancel", "Fetch"),
        *("Generate", "Bundles", "AddBundle", "DrainBundle", "RemoveBundle"),
    }
    (bundle,) = anybody.call("Bundles", {})["bundles"]
    assert (bundle["model"], bundle["state"]) == ("MODEL_ANIMATE", "BUNDLE_STATE_SERVING")
    assert len(bundle["digest"]) == 64
    assert int(bundle["limits"]["max_upload_nbytes"]) > 1 << 30
    assert "finds_people" not in bundle

    wish: Json = {
        **{name: send(anybody, getattr(media_files, name)) for name in ("reference", "pose")},
        "face": send(anybody, media_files.face),
        "sampling": {"steps": 2},
        "segment_frames": 5,
        "output_format": "OUTPUT_FORMAT_UINT8",
        "bundle": bundle["name"],
        "title": "shot 12",
        "labels": {"show": "dune"},
        "priority": 2,
    }
    job = anybody.call("Submit", wish)
    assert (job["title"], job["labels"], job["priority"]) == ("shot 12", {"show": "dune"}, 2)
    assert job["bundle"] == bundle["name"]
    height, width = SIZE
    assert (job["video"]["width"], job["video"]["height"]) == (width, height)
    named = {"job_id": job["job_id"]}

    events = list(anybody.stream("Watch", {**named, "preview": {"format": "PICTURE_FORMAT_PNG"}}))
    told = [int(event["sequence"]) for event in events if "preview" not in event]
    assert told == list(range(1, len(told) + 1))
    assert events[-1]["state"] == "JOB_STATE_DONE"
    last = anybody.call("Get", named)
    assert last["latest"] == events[-1]
    assert last["finished"] >= last["submitted"]
    assert anybody.call("List", {"labels": {"show": "dune"}})["jobs"] == [last]
    assert anybody.call("List", {"states": ["JOB_STATE_RUNNING"]}) == {}
    assert anybody.call("Cancel", named)["state"] == "JOB_STATE_DONE"

    result = content_of(anybody.stream("Fetch", named))
    assert len(result) == int(last["result_nbytes"])
    frames = load(result)["frames"]
    assert frames.shape == (FRAMES, *SIZE, 3)
    raw = content_of(anybody.stream("Fetch", {**named, "artifact": "ARTIFACT_FRAMES"}))
    np.testing.assert_array_equal(np.frombuffer(raw, np.uint8), frames.ravel())

    answers = list(anybody.stream("Generate", {"job": wish}))
    assert answers[0]["job"]["job_id"] != job["job_id"]
    kinds = [next(iter(answer)) for answer in answers]
    assert kinds == sorted(kinds, key=["job", "event", "content"].index)
    assert content_of(one["content"] for one in answers if "content" in one) == result
