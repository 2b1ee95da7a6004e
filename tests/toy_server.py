"""A real server over a toy bundle, on free ports of loopback: its jobs take some milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from wan_trt.engine import Bundle, Engine
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.server.address import Address
from wan_trt.server.client import Client
from wan_trt.server.proto import wan_trt_v1_pb2_grpc as wire_grpc
from wan_trt.server.server import Server, ServerOptions
from wan_trt.server.submission import OutputFormat, Submission

ANY_PORT = Address("127.0.0.1", 0)


@contextmanager
def toy_server(bundle: Bundle, folder: Path, **options: Any) -> Iterator[Server]:
    engine = Engine(bundle, threads=1)
    listen = ServerOptions(ANY_PORT, farewell_s=1.0, metrics_listen=ANY_PORT, **options)
    with Server(engine, folder, listen) as server:
        yield server


def stub_of(channel: grpc.Channel) -> Any:
    """The generated client, which takes metadata."""
    stub: Any = wire_grpc.VideoServiceStub
    return stub(channel)


def toy_submission(
    client: Client, media: dict[str, Path], steps: int = 2, timeout_s: float | None = None
) -> Submission:
    """Of media that `durable.write_media` made."""
    uploads: dict[str, Any] = {name: client.upload(path) for name, path in media.items()}
    choices = RequestChoices(seed=1, segment_frames=5, sampling=SamplingChoices(steps=steps))
    return Submission(
        **uploads, choices=choices, output_format=OutputFormat.UINT8, timeout_s=timeout_s
    )
