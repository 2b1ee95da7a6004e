"""Who waits or runs: a job has its place before it is accepted, and until it is over."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wan_trt.server.errors import QueueFullError, UnavailableError
from wan_trt.server.principal import Principal
from wan_trt.server.quotas import Quotas


class Places:
    """At most so many; safe to use from any thread."""

    def __init__(self, most: int, quotas: Quotas) -> None:
        self._most = most
        self._quotas = quotas
        self._owners: dict[str, str] = {}
        self._refusal: UnavailableError | None = None
        self._lock = threading.Lock()

    def take(
        self,
        job_id: str,
        caller: Principal,
        kept_nbytes: Callable[[], int],
        first_end_s: Callable[[], float | None],
    ) -> None:
        """`kept_nbytes` are the caller's, `first_end_s` when a place may be free. Raises
        QueueFullError, QuotaError, or what `refuse` was given."""
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if len(self._owners) >= self._most:
                raise QueueFullError(
                    f"{len(self._owners)} jobs wait already",
                    action="try again when some are done, or use another server",
                    retry_after_s=first_end_s(),
                )
            theirs = sum(owner == caller.name for owner in self._owners.values())
            self._quotas.submission(caller, theirs, kept_nbytes)
            self._owners[job_id] = caller.name

    def take_again(self, job_id: str, owner: str) -> None:
        """Of a job that an earlier process accepted."""
        with self._lock:
            self._owners[job_id] = owner

    def give_back(self, job_id: str) -> None:
        with self._lock:
            self._owners.pop(job_id, None)

    def refuse(self, error: UnavailableError) -> None:
        """Give no more places."""
        with self._lock:
            self._refusal = error
