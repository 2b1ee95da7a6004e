"""A server that runs for long keeps what it knows of old jobs and files within bounds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from serving import MakeServer, MakeSubmission

from wan_trt.engine.errors import ExecutionError, NotFoundError
from wan_trt.server import uploads as uploads_module
from wan_trt.server.client import Client
from wan_trt.server.jobs import JobOptions
from wan_trt.server.retention import Retention
from wan_trt.server.uploads import Announced, Uploads


def test_old_jobs_and_their_keys_are_forgotten(
    make_server: MakeServer, make_submission: MakeSubmission
) -> None:
    """Those whose result was fetched; one that nobody has fetched is none of them."""
    options = JobOptions(retention=Retention(max_jobs=1))
    with Client(str(make_server(jobs=options).address), timeout_s=60) as client:
        submission = make_submission(client, steps=1, idempotency_key="shot 1")
        first, second, third = (
            client.submit(each)
            for each in (submission, *(make_submission(client, steps=1, seed=s) for s in (1, 2)))
        )
        for job_id in (first, second, third):
            client.wait(job_id)
        assert client.submit(submission) == first
        for job_id in (first, second):
            assert b"".join(client.fetch_chunks(job_id))
        client.wait(client.submit(make_submission(client, steps=1, seed=3)))
        assert client.get(second).job_id == second
        assert client.get(third).job_id == third
        with pytest.raises(NotFoundError, match="old jobs are forgotten"):
            client.get(first)
        again = client.submit(submission)
        assert again not in (first, second, third)
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
        told.append(uploads.receive(Announced(name, len(content), digest), [content], ""))
    names = [uploads.retell(ExecutionError(f"{tmp_path}/{i}: torn")).given for i in told]
    assert names == ["a.png: torn", f"{told[1]}: torn", "a.png: torn", "c.png: torn"]
