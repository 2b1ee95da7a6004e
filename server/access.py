"""Who calls: told by a bearer token, or else by the certificate of the connection."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import grpc

from wan_trt.server.access_file import AccessList, Entry
from wan_trt.server.errors import AuthenticationError, QuotaError
from wan_trt.server.principal import Principal
from wan_trt.server.reloaded import Reloaded
from wan_trt.server.tokens import token_of_header

FAILURES_A_MINUTE = 10
REMEMBERED_PEERS = 1000
_log = logging.getLogger(__name__)


class CheckedAccess:
    """Lets those in who are listed; without a list, all whose certificate the connection has
    verified, each under its first name, none of them an admin.

    A token, where one comes, decides alone: a wrong one is not made good by a certificate.
    """

    def __init__(self, listed: Reloaded[AccessList] | None, failures: FailedAttempts) -> None:
        self._listed = listed
        self._failures = failures

    def principal(self, context: grpc.ServicerContext) -> Principal:
        """Raises AuthenticationError, or QuotaError for a peer that failed too often; a caller who
        is listed always gets in, whoever else fails from the same address."""
        try:
            return self._find(context)
        except _RefusedError as refused:
            self._failures.add(peer_of(context), str(refused))
            raise AuthenticationError(
                "no token or certificate came that lets the caller in",
                expected="metadata `authorization: Bearer TOKEN`",
                action="ask the operator for a token, and give it as WAN_TRT_TOKEN",
            ) from None

    def _find(self, context: grpc.ServicerContext) -> Principal:
        headers = [
            str(value) for key, value in context.invocation_metadata() if key == "authorization"
        ]
        names = certificate_names(context)
        if headers:
            token = token_of_header(headers[0]) if len(headers) == 1 else None
            entry = self._listed.current.of_token(token) if self._listed and token else None
            return _valid(entry, "an unknown token")
        if self._listed is not None:
            return _valid(self._listed.current.of_certificate(names), f"no token, names {names}")
        if not names:
            raise _RefusedError("a certificate without a name")
        return Principal(names[0])


class FailedAttempts:
    """Counts failures for each peer (its address without the port), and tells the log of them.

    The tokens are beyond guessing, so this is for the log's sake, and for the operator's, who sees
    one line a minute for what is wrong with some client.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._peers: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, peer: str, reason: str) -> None:
        """Raises QuotaError for one more than FAILURES_A_MINUTE."""
        now = self._clock()
        with self._lock:
            since, count = self._peers.get(peer, (now, 0))
            if now - since >= 60:
                since, count = now, 0
            self._peers[peer] = since, count + 1
            self._peers.move_to_end(peer)
            while len(self._peers) > REMEMBERED_PEERS:
                self._peers.popitem(last=False)
        if count < FAILURES_A_MINUTE:
            _log.warning("a caller from %s was not let in: %s", peer, reason)
            return
        if count == FAILURES_A_MINUTE:
            _log.warning("%s failed %d times; not told for the rest of the minute", peer, count)
        raise QuotaError(
            f"{count} attempts without a valid token",
            subject=peer,
            what="failed attempts a minute",
            limit=FAILURES_A_MINUTE,
            used=count,
            retry_after_s=since + 60 - now,
            action="ask the operator for a token, and wait a minute",
        )


def peer_of(context: grpc.ServicerContext) -> str:
    """The caller's address without the port."""
    kind, _, rest = unquote(context.peer()).partition(":")
    return rest.rpartition(":")[0] if kind in ("ipv4", "ipv6") else kind


def certificate_names(context: grpc.ServicerContext) -> Sequence[str]:
    """Of the verified certificate that the connection was made with: its subject alternative
    names, or where it has none its common name. Empty without such a certificate."""
    properties: Any = context.auth_context()
    for key in ("x509_subject_alternative_name", "x509_common_name"):
        if names := [name.decode("utf-8", "replace") for name in properties.get(key, ())]:
            return names
    return ()


class _RefusedError(Exception):
    """Why, for the log; the caller is not told."""


def _valid(entry: Entry | None, otherwise: str) -> Principal:
    if entry is None:
        raise _RefusedError(otherwise)
    if not entry.valid(datetime.now(UTC)):
        raise _RefusedError(f"the access of {entry.principal.name} has expired")
    return entry.principal
