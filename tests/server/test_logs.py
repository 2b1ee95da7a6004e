"""What a server writes to its log: one form, everything in it, and nothing that is nobody's
business."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import grpc
import pytest
from durable import write_media
from toy_bundle import write_toy_bundle
from toy_server import stub_of, toy_server, toy_submission

from wan_trt.engine.errors import BundleError
from wan_trt.server.client import Client
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.submission_messages import submission_to_wire
from wan_trt.server.telemetry.context import Work, at_work
from wan_trt.server.telemetry.logs import LogFormat, logging_to

_log = logging.getLogger("wan_trt.test")


def logged(form: LogFormat, act: Callable[[], None], level: Any = "info") -> str:
    stream = io.StringIO()
    with logging_to(stream, form, level):
        act()
    return stream.getvalue()


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_tells_what_the_thread_is_at() -> None:
    def act() -> None:
        with at_work(Work("r-1", "j-1", "alice", "00-secret")):
            _log.info("hello %s", "world")
        _log.info("free")
        _log.debug("not shown")

    fresh = Context()  # this thread may have been at something before
    first, second = objects(logged("json", lambda: fresh.run(act)))
    assert first | {"time": ""} == {
        "time": "",
        "level": "info",
        "logger": "wan_trt.test",
        "message": "hello world",
        "thread": "MainThread",
        "request_id": "r-1",
        "job_id": "j-1",
        "principal": "alice",
    }
    assert "job_id" not in second
    text = logged("text", act)
    assert "info    wan_trt.test: hello world request_id=r-1 job_id=j-1 principal=alice\n" in text


def test_warnings_and_what_nobody_catches_are_lines_too() -> None:
    def fail() -> None:
        raise RuntimeError("in a thread\nof its own")

    def act() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        thread = threading.Thread(target=fail, name="worker")
        thread.start()
        thread.join()

    warned, failed = objects(logged("json", act))
    assert "DeprecationWarning: old" in warned["message"]
    assert failed["message"] == "the thread worker ended by a bug"
    assert "RuntimeError: in a thread" in failed["exception"]


def test_what_a_client_says_cannot_forge_a_line() -> None:
    text = logged("text", lambda: _log.info("name %s", "a\n2026 error forged: \x1b[31m"))
    assert text.count("\n") == 1
    assert "\x1b" not in text


def test_calls_and_jobs_by_their_request_id(tmp_path: Path) -> None:
    bundle = write_toy_bundle(tmp_path / "toy", high=0.5, low=0.25)
    media = write_media(tmp_path, frames=7)
    answered: list[Any] = []

    def act() -> None:
        with toy_server(bundle, tmp_path / "data") as server, Client(str(server.address)) as client:
            submission = toy_submission(client, media)
            channel = grpc.insecure_channel(str(server.address))
            stub = stub_of(channel)
            message = submission_to_wire(submission)
            _, call = stub.Submit.with_call(message, metadata=[("x-request-id", "render-7")])
            answered.append(dict(call.initial_metadata())["x-request-id"])
            client.wait(client.submit(submission))
            message.prompt = "a secret prompt"  # which this bundle has no tokenizer for
            failing: wire.Job = stub.Submit(message)
            with pytest.raises(BundleError):
                client.wait(failing.job_id)
            with pytest.raises(grpc.RpcError) as raised:
                stub.Get(
                    wire.GetRequest(job_id="x"), metadata=[("x-request-id", "no good " + "x" * 200)]
                )
            refusal: Any = raised.value
            answered.append(dict(refusal.initial_metadata())["x-request-id"])
            channel.close()

    text = logged("json", act)
    lines = objects(text)
    assert answered[0] == "render-7"
    assert len(answered[1]) == 32  # not the client's
    ours = [line for line in lines if line.get("request_id") == "render-7"]
    submitted, *_, done = ours
    assert (submitted["message"], submitted["method"]) == ("Submit OK", "Submit")
    assert submitted["seconds"] > 0
    assert done["message"] == "job done"
    assert done["job_id"] == submitted["job_id"]
    [refused] = [line for line in lines if line.get("code") == "NOT_FOUND"]
    assert (refused["method"], refused["error"]) == ("Get", "NotFoundError")
    [failed] = [line for line in lines if line["message"] == "job failed"]
    assert (failed["level"], failed["error"]) == ("warning", "BundleError")
    assert "secret" not in text
