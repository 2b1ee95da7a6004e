"""What a thread is at work on: which call, which job, on whose account. Log lines tell it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Work:
    """Empty where it is not known. `traceparent` is the W3C one of what the work belongs to."""

    request_id: str = ""
    job_id: str = ""
    principal: str = ""
    traceparent: str = ""

    def told(self) -> dict[str, str]:
        """What a log line says of it."""
        return {name: text for name, text in asdict(self).items() if text and name != "traceparent"}


_current: ContextVar[Work] = ContextVar("work", default=Work())  # noqa: B039, it is frozen


def current() -> Work:
    return _current.get()


def now_at(work: Work) -> None:
    """From now on this thread is at work on that."""
    _current.set(work)


def about_job(job_id: str) -> None:
    """The work of this thread turns out to be about a job."""
    now_at(replace(current(), job_id=job_id))


def on_account_of(principal: str) -> None:
    """The work of this thread turns out to be theirs."""
    now_at(replace(current(), principal=principal))


@contextmanager
def at_work(work: Work) -> Iterator[None]:
    """This thread is at work on that within the block."""
    before = _current.set(work)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # a generator that another thread closes
            _current.reset(before)
