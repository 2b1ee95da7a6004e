"""A real server on a free port of loopback, over a small real bundle, and files to send to it."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from durable import write_media
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from serving import FRAMES, SIZE, MakeServer, MakeSubmission, MediaFiles
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle, Engine
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.server.address import Address
from wan_trt.server.client import Client, Retries
from wan_trt.server.server import Server, ServerOptions
from wan_trt.server.submission import OutputFormat, Submission


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose disk is never waited for, where the system has such a place."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="wan-trt-test-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def media_files(tmp_path_factory: pytest.TempPathFactory) -> MediaFiles:
    folder = tmp_path_factory.mktemp("media")
    generator = np.random.default_rng(7)

    def pixels(*shape: int) -> NDArray[np.uint8]:
        return generator.integers(0, 256, (*shape, 3), dtype=np.uint8)

    files = MediaFiles(
        folder / "hero.png", folder / "pose.safetensors", folder / "face.safetensors"
    )
    Image.fromarray(pixels(40, 30)).save(files.reference)
    save_file({"frames": pixels(FRAMES, *SIZE)}, files.pose)
    save_file({"frames": pixels(FRAMES, 16, 16)}, files.face)
    return files


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of a toy, without a model in it: what frames show is of no matter."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def media(tmp_path: Path) -> dict[str, Path]:
    """Of a short toy job."""
    return write_media(tmp_path, frames=5)


@pytest.fixture
def make_server(tiny_bundle: Bundle, tmp_path: Path) -> Iterator[MakeServer]:
    """make_server(**options): a started server, stopped at the end of the test."""
    servers: list[Server] = []

    def make(**options: Any) -> Server:
        engine = Engine(tiny_bundle, threads=1)
        data = tmp_path / f"data{len(servers)}"
        listen = ServerOptions(Address("127.0.0.1", 0), farewell_s=1.0, **options)
        server = Server(engine, data, listen)
        servers.append(server.__enter__())
        return server

    yield make
    for server in servers:
        server.__exit__(None, None, None)


@pytest.fixture
def server(make_server: MakeServer) -> Server:
    return make_server()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(str(server.address), 60, retries=Retries(0)) as client:
        yield client


@pytest.fixture
def make_submission(media_files: MediaFiles) -> MakeSubmission:
    """make_submission(client, steps=2, **fields): the media files, uploaded."""

    def make(client: Client, steps: int = 2, **fields: object) -> Submission:
        values: dict[str, object] = {
            "reference": client.upload(media_files.reference),
            "pose": client.upload(media_files.pose),
            "face": client.upload(media_files.face),
            "segment_frames": 5,
            "sampling": SamplingChoices(steps=steps),
            "output_format": OutputFormat.FLOAT32,
            "seed": 3,
        } | fields
        names = {field.name for field in dataclasses.fields(RequestChoices)} & values.keys()
        choices: Any = {name: values.pop(name) for name in names}
        media: Any = values
        return Submission(**media, choices=RequestChoices(**choices))

    return make
