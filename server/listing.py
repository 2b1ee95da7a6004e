"""Lists of jobs, a page at a time: filters and page tokens on the wire."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, replace

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import JobState
from wan_trt.server.messages import STATES
from wan_trt.server.principal import Principal
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.store.job_index import JobFilter
from wan_trt.server.wire_values import choice, optional, time_from_wire

DEFAULT_PAGE = 50
MAX_PAGE = 200
_DIGEST = 8


@dataclass(frozen=True)
class Page:
    """`count` jobs at most that fit `asked`, of those that arrived before job number `before`."""

    asked: JobFilter
    count: int
    before: int | None = None

    def token(self, arrival: int) -> str:
        """What asks for the page behind the job with this number."""
        content = _digest(self.asked) + arrival.to_bytes(8, "big")
        return base64.urlsafe_b64encode(content).decode()


def page_from_wire(message: wire.ListRequest, caller: Principal) -> Page:
    """What the caller may see of what they ask for. Raises InputError for a size, a state or a
    token that is none, and for a token of another filter."""
    states = [choice(STATES, state, None, "states") for state in message.states]
    asked = JobFilter(
        states=tuple(dict.fromkeys(state for state in states if isinstance(state, JobState))),
        labels=dict(message.labels),
        submitted_from=time_from_wire(optional(message, "submitted_from")),
        submitted_before=time_from_wire(optional(message, "submitted_before")),
        owner=None if caller.admin else caller.name,
    )
    if not 0 <= message.page_size <= MAX_PAGE:
        raise InputError(
            f"{message.page_size}", expected=f"1 to {MAX_PAGE}, or 0", field="page_size"
        )
    page = Page(asked, message.page_size or DEFAULT_PAGE)
    if not message.page_token:
        return page
    return replace(page, before=_arrival(message.page_token, asked))


def _arrival(token: str, asked: JobFilter) -> int:
    try:
        content = base64.urlsafe_b64decode(token.encode())
    except (binascii.Error, ValueError):
        content = b""
    if len(content) != _DIGEST + 8 or content[:_DIGEST] != _digest(asked):
        raise InputError(
            f"page token {token[:100]!r}",
            expected="the next_page_token of a page of the same filter",
            action="begin with the first page",
            field="page_token",
        )
    return int.from_bytes(content[_DIGEST:], "big")


def _digest(asked: JobFilter) -> bytes:
    """Tells filters apart."""
    parts = (
        sorted(asked.states),
        sorted(asked.labels.items()),
        asked.submitted_from,
        asked.submitted_before,
        asked.owner,
    )
    return hashlib.sha256(repr(parts).encode()).digest()[:_DIGEST]
