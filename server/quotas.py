"""What principals have taken of the server, against what they may take."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from wan_trt.server.errors import PermissionDeniedError, QuotaError
from wan_trt.server.principal import Principal

_MINUTE_S = 60.0


class Quotas:
    """Safe to use from any thread. What lies on disk is counted by whoever knows it; this adds what
    is under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: Counter[str] = Counter()
        self._arriving: Counter[str] = Counter()  # bytes
        self._submitted: defaultdict[str, deque[float]] = defaultdict(deque)

    @contextmanager
    def stream(self, caller: Principal) -> Iterator[None]:
        """One upload, watcher or fetch while the block runs. Raises QuotaError."""
        with self._lock:
            _require(caller, "streams", caller.quota.streams, self._streams[caller.name], 1)
            self._streams[caller.name] += 1
        try:
            yield
        finally:
            self._give_back(self._streams, caller, 1)

    @contextmanager
    def upload(self, caller: Principal, nbytes: int, kept: Callable[[], int]) -> Iterator[None]:
        """An upload of `nbytes` while the block runs; `kept()` bytes are there already. Raises
        QuotaError."""
        limit = caller.quota.kept_nbytes
        with self._lock:
            arriving = self._arriving[caller.name]
            self._arriving[caller.name] += nbytes
        try:
            if limit is not None:  # what arrives between the two counts twice rather than never
                _require(caller, "kept bytes", limit, arriving + kept(), nbytes)
            yield
        finally:
            self._give_back(self._arriving, caller, nbytes)

    def submission(self, caller: Principal, unfinished: int, kept: Callable[[], int]) -> None:
        """One more job; `unfinished` of them are there already, and `kept()` bytes. Raises
        QuotaError."""
        quota = caller.quota
        _require(caller, "unfinished jobs", quota.unfinished_jobs, unfinished, 1)
        if quota.kept_nbytes is not None:
            _require(caller, "kept bytes", quota.kept_nbytes, kept(), 1)
        self._count_submission(caller)

    def _count_submission(self, caller: Principal) -> None:
        limit = caller.quota.submissions_a_minute
        if limit is None:
            return
        now = self._clock()
        with self._lock:
            times = self._submitted[caller.name]
            while times and now - times[0] >= _MINUTE_S:
                times.popleft()
            wait_s = times[0] + _MINUTE_S - now if times else _MINUTE_S
            _require(caller, "submissions a minute", limit, len(times), 1, wait_s)
            times.append(now)

    def _give_back(self, taken: Counter[str], caller: Principal, amount: int) -> None:
        with self._lock:
            taken[caller.name] -= amount
            if not taken[caller.name]:
                del taken[caller.name]


def require_priority(caller: Principal, priority: float) -> None:
    """Raises PermissionDeniedError for a priority that is not the caller's to give."""
    limit = caller.quota.max_priority
    if limit is not None and priority > limit:
        raise PermissionDeniedError(
            f"priority {priority:g}",
            expected=f"at most {limit:g} from {caller.name}",
            action="give a lower one, or ask the operator for more",
            field="priority",
        )


def _require(
    caller: Principal,
    what: str,
    limit: int | None,
    used: int,
    wanted: int,
    retry_after_s: float | None = None,
) -> None:
    if limit is None or used + wanted <= limit:
        return
    raise QuotaError(
        f"{caller.name} has {used} of {limit} {what}",
        subject=caller.name,
        what=what,
        limit=limit,
        used=used,
        retry_after_s=retry_after_s,
        expected=f"room for {wanted} more",
        action="wait until some are over, fetch results, or ask the operator for more",
    )
