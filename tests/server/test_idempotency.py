from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from wan_trt.server.errors import ConflictError
from wan_trt.server.idempotency import OncePerKey


def test_a_key_runs_once_however_many_ask_at_a_time() -> None:
    once: OncePerKey[int] = OncePerKey()
    started, go_on = threading.Event(), threading.Event()
    runs = []

    def action() -> int:
        runs.append(1)
        started.set()
        assert go_on.wait(10)
        return len(runs)

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(once.run, "me", "key", b"same", action)
        assert started.wait(10)
        others = [threads.submit(once.run, "me", "key", b"same", action) for _ in range(3)]
        go_on.set()
        assert [result.result(10) for result in (first, *others)] == [1, 1, 1, 1]


def test_without_a_key_every_call_runs() -> None:
    once: OncePerKey[object] = OncePerKey()
    assert once.run("me", "", b"", object) is not once.run("me", "", b"", object)


def test_a_key_with_other_content_is_refused() -> None:
    once: OncePerKey[int] = OncePerKey()
    assert once.run("me", "key", b"a", lambda: 1) == 1
    with pytest.raises(ConflictError):
        once.run("me", "key", b"b", lambda: 2)


def test_a_failure_is_not_remembered() -> None:
    once: OncePerKey[float] = OncePerKey()
    with pytest.raises(ZeroDivisionError):
        once.run("me", "key", b"", lambda: 1 / 0)
    assert once.run("me", "key", b"", lambda: 2.0) == 2.0
