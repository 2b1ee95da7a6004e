"""What one principal may take, over a socket and by the clock."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import grpc
import pytest
from serving import MakeServer, MakeSubmission, MediaFiles

from wan_trt.engine.errors import WanTrtError
from wan_trt.server.client import Client
from wan_trt.server.errors import PermissionDeniedError, QuotaError
from wan_trt.server.principal import EVERYBODY, Principal, Quota
from wan_trt.server.quotas import Quotas, require_priority
from wan_trt.server.security import SecurityOptions
from wan_trt.server.status import code_of
from wan_trt.server.tokens import hash_of_token, new_token

TOKEN, OTHER = new_token(), new_token()


def test_a_principal_gets_so_much_and_others_theirs(
    make_server: MakeServer,
    make_submission: MakeSubmission,
    media_files: MediaFiles,
    tmp_path: Path,
) -> None:
    media = (media_files.reference, media_files.pose, media_files.face)
    kept = sum(path.stat().st_size for path in media) + 100
    listed = tmp_path / "access.toml"
    listed.write_text(
        f'[[principal]]\nname = "anna"\ntoken_sha256 = ["{hash_of_token(TOKEN)}"]\n'
        f"quota = {{unfinished_jobs = 1, streams = 1, kept_gigabytes = {kept / 1e9:.9f}}}\n"
        f'[[principal]]\nname = "bert"\ntoken_sha256 = ["{hash_of_token(OTHER)}"]\n'
    )
    address = str(make_server(security=SecurityOptions(access=listed)).address)
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(1000))
    with Client(address, token=TOKEN) as anna, Client(address, token=OTHER) as bert:
        submission = make_submission(anna, steps=1000)
        job_id = anna.submit(submission)
        with pytest.raises(QuotaError, match="anna has 1 of 1 unfinished jobs"):
            anna.submit(submission)
        other = bert.submit(make_submission(bert, steps=1000))

        with pytest.raises(QuotaError, match="kept bytes") as raised:
            anna.upload(large)
        assert code_of(raised.value) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert anna.upload(media_files.pose) == submission.pose, "it is there already"
        bert.upload(large)

        watching = anna.watch(job_id)
        next(watching)
        with pytest.raises(QuotaError, match="anna has 1 of 1 streams"):
            next(anna.watch(job_id))
        next(bert.watch(other))
        for client, mine in ((anna, job_id), (bert, other)):
            client.cancel(mine)
        with contextlib.suppress(WanTrtError):
            list(watching)
        with pytest.raises(WanTrtError):
            anna.wait(job_id)
        anna.cancel(anna.submit(submission))


def test_submissions_a_minute() -> None:
    now = 100.0
    quotas = Quotas(clock=lambda: now)
    anna = Principal("anna", quota=Quota(submissions_a_minute=2))

    def submit(caller: Principal) -> None:
        quotas.submission(caller, 0, lambda: 0)

    submit(anna)
    now = 110.0
    submit(anna)
    now = 130.0
    with pytest.raises(QuotaError) as raised:
        submit(anna)
    error = raised.value
    assert (error.subject, error.what) == ("anna", "submissions a minute")
    assert (error.limit, error.used, error.retry_after_s) == (2, 2, 30.0)
    for _ in range(10):
        submit(EVERYBODY)
    now = 160.0
    submit(anna)
    with pytest.raises(QuotaError):
        submit(anna)


def test_bytes_on_their_way_count() -> None:
    quotas = Quotas()
    anna = Principal("anna", quota=Quota(kept_nbytes=10))
    with quotas.upload(anna, 6, lambda: 0):
        with pytest.raises(QuotaError), quotas.upload(anna, 6, lambda: 0):
            pass
        with quotas.upload(anna, 4, lambda: 0):
            pass
    with quotas.upload(anna, 6, lambda: 4), quotas.upload(EVERYBODY, 1 << 60, lambda: 0):
        pass
    quotas.submission(anna, 0, lambda: 9)
    with pytest.raises(QuotaError):
        quotas.submission(anna, 0, lambda: 10)


def test_counting_what_is_kept_holds_up_nobody() -> None:
    """Who counts may wait for somebody who asks for something else."""
    quotas = Quotas()
    anna = Principal("anna", quota=Quota(kept_nbytes=10, submissions_a_minute=5))

    def kept() -> int:
        other = threading.Thread(target=quotas.submission, args=(anna, 0, lambda: 0), daemon=True)
        other.start()
        other.join(10)
        assert not other.is_alive()
        return 0

    with quotas.upload(anna, 6, kept):
        pass


def test_priorities() -> None:
    anna = Principal("anna", quota=Quota(max_priority=2.0))
    require_priority(anna, 2.0)
    require_priority(EVERYBODY, 100.0)
    with pytest.raises(PermissionDeniedError, match=r"^priority: priority 2.5"):
        require_priority(anna, 2.5)
