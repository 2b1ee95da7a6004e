"""Doing a thing once for each key, however often and however concurrently it is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from wan_trt.server.errors import ConflictError

_Result = TypeVar("_Result")


class OncePerKey(Generic[_Result]):
    """Remembers results by owner and key until they are forgotten: two owners' keys have nothing to
    do with each other. What failed is not remembered and may be tried again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._done: dict[tuple[str, str], tuple[bytes, Future[_Result]]] = {}

    def run(self, owner: str, key: str, content: bytes, action: Callable[[], _Result]) -> _Result:
        """The result of `action`, or of the first run with this key; an empty key always runs.

        Callers that come while the first is at it wait for it and share its result or error.
        Raises ConflictError when the first came with other `content`.
        """
        if not key:
            return action()
        with self._lock:
            known = self._done.get((owner, key))
            if known is None:
                mine: Future[_Result] = Future()
                self._done[owner, key] = content, mine
        if known is not None:
            return self._first(key, content, *known)
        try:
            mine.set_result(action())
        except BaseException as error:
            with self._lock:
                self._done.pop((owner, key), None)
            mine.set_exception(error)
        return mine.result()

    def remember(self, owner: str, key: str, content: bytes, result: _Result) -> None:
        """A first run with this key, which another process has made."""
        if key:
            done: Future[_Result] = Future()
            done.set_result(result)
            with self._lock:
                self._done[owner, key] = content, done

    def forget(self, owner: str, key: str) -> None:
        """The next run with this key is a first one again."""
        with self._lock:
            self._done.pop((owner, key), None)

    def _first(self, key: str, content: bytes, first: bytes, future: Future[_Result]) -> _Result:
        if content != first:
            raise ConflictError(
                f"{key[:100]!r} was used for another request",
                expected="the same request again, or a new key",
                field="idempotency_key",
            )
        return future.result()
