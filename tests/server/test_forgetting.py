"""A server that runs for long keeps what it knows of old jobs and files within bounds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from serving import MakeServer, MakeSubmission

from wan_trt.engine.errors import ExecutionError, NotFoundError
from wan_trt.server import uploads as uploads_module
from wan_trt.server.client import Client
from wan_trt.server.uploads import Uploads


def test_old_jobs_and_their_keys_are_forgotten(
    make_server: MakeServer, make_submission: MakeSubmission
) -> None:
    with Client(str(make_server(remembered=1).address), timeout_s=60) as client:
        submission = make_submission(client, steps=1, idempotency_key="shot 1")
        first = client.submit(submission)
        client.wait(first)
        assert client.submit(submission) == first
        second = client.submit(make_submission(client, steps=1))
        client.wait(second)
        assert client.get(second).job_id == second
        with pytest.raises(NotFoundError, match="old jobs are forgotten"):
            client.get(first)
        again = client.submit(submission)
        assert again not in (first, second)
        client.wait(again)


def test_old_names_of_uploads_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_module, "REMEMBERED_NAMES", 2)
    uploads = Uploads(tmp_path, 100)
    told = []
    for name in ("a.png", "b.png", "a.png", "c.png"):
        content = name.encode()
        digest = hashlib.sha256(content).hexdigest()
        told.append(uploads.receive(name, len(content), digest, [content]))
    names = [uploads.retell(ExecutionError(f"{tmp_path}/{i}: torn")).given for i in told]
    assert names == ["a.png: torn", f"{told[1]}: torn", "a.png: torn", "c.png: torn"]
