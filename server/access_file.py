"""The file that says who may use a server, in TOML:

    [[principal]]
    name = "farm"                             # on whose account jobs go
    token_sha256 = ["9f86d081884c7d65..."]    # `wan-trt token new` makes it; two while one goes
    certificate = "farm.example.org"          # or with --tls-client-ca: a name in their certificate
    expires = 2027-01-31T00:00:00Z            # optional
    admin = false                             # sees and cancels everybody's jobs
    [principal.quota]                         # each of them optional: no limit
    unfinished_jobs = 20
    kept_gigabytes = 50.0
    streams = 8
    submissions_a_minute = 60
    max_priority = 1.0

The file holds no secret: nobody can make a token out of its hash. Who can write it, can let
themselves in.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from wan_trt.engine.errors import InputError
from wan_trt.server.principal import Principal, Quota
from wan_trt.server.tokens import hash_of_token, same_hash

_NAME = re.compile(r"[\x21-\x7e]{1,255}")
_NAME_WORDS = "1 to 255 printable ASCII characters without spaces"
_SHA256 = re.compile("[0-9a-f]{64}")
_GIGABYTE = 10**9

_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "token_sha256": (list,),
    "certificate": (str,),
    "expires": (datetime,),
    "admin": (bool,),
    "quota": (dict,),
    "unfinished_jobs": (int,),
    "kept_gigabytes": (int, float),
    "streams": (int,),
    "submissions_a_minute": (int,),
    "max_priority": (int, float),
}
_OF_PRINCIPAL = ("name", "token_sha256", "certificate", "expires", "admin", "quota")
_OF_QUOTA = tuple(name for name in _KINDS if name not in _OF_PRINCIPAL)
_WORDS = {str: "text", list: "a list", datetime: "a time with its zone", bool: "true or false"}


@dataclass(frozen=True)
class Entry:
    """One principal, and what shows that it is they who call."""

    principal: Principal
    token_hashes: tuple[str, ...] = ()
    certificate: str | None = None
    expires: datetime | None = None

    def valid(self, now: datetime) -> bool:
        return self.expires is None or now < self.expires


@dataclass(frozen=True)
class AccessList:
    """All who may use the server."""

    entries: tuple[Entry, ...]

    def of_token(self, token: str) -> Entry | None:
        """All hashes are compared, whichever is right."""
        found = None
        digest = hash_of_token(token)
        for entry in self.entries:
            for known in entry.token_hashes:
                if same_hash(known, digest):
                    found = entry
        return found

    def of_certificate(self, names: Sequence[str]) -> Entry | None:
        return next((entry for entry in self.entries if entry.certificate in names), None)


def entry_text(entry: Entry) -> str:
    """The entry as it stands in the file, without certificate and quota. Raises InputError for a
    name that no principal can have."""
    name = entry.principal.name
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r}", expected=_NAME_WORDS, field="name")
    lines = ["[[principal]]", f"name = {json.dumps(name)}"]  # of ASCII: a string in TOML, too
    lines.append(f"token_sha256 = {json.dumps(entry.token_hashes)}")
    if entry.expires is not None:
        lines.append(f"expires = {entry.expires.isoformat()}")
    if entry.principal.admin:
        lines.append("admin = true")
    return "\n".join((*lines, "", ""))


def read_access_file(path: Path) -> AccessList:
    """Raises InputError that names the file, the principal and what is wrong with it."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error.strerror})", "a file of principals") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _wrong(path, f"is not TOML ({error})", "a file of principals") from None
    tables = content.pop("principal", [])
    if content or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        known = ", ".join(content) or "principal"
        raise _wrong(path, f"has the key {known}", "tables [[principal]] and nothing else")
    entries = tuple(_entry(path, number, table) for number, table in enumerate(tables, 1))
    for what, values in (
        ("name", [entry.principal.name for entry in entries]),
        ("token", [known for entry in entries for known in entry.token_hashes]),
        ("certificate", [entry.certificate for entry in entries if entry.certificate]),
    ):
        if len(values) != len(set(values)):
            raise _wrong(path, f"has one {what} twice", f"a {what} of their own for each principal")
    return AccessList(entries)


def _entry(path: Path, number: int, table: Mapping[str, Any]) -> Entry:
    name = table.get("name")
    where = f"principal {number}" + (f" ({name})" if isinstance(name, str) else "")
    _check(path, where, table, _OF_PRINCIPAL)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(path, f"{where} has the name {name!r}", _NAME_WORDS)
    hashes = tuple(table.get("token_sha256", ()))
    if not all(isinstance(known, str) and _SHA256.fullmatch(known) for known in hashes):
        raise _wrong(path, f"{where}: token_sha256", "lists of 64 lower-case hex digits")
    expires = table.get("expires")
    if expires is not None and expires.tzinfo is None:
        raise _wrong(
            path, f"{where}: expires {expires}", "a time with its zone, as in ...T00:00:00Z"
        )
    if not hashes and "certificate" not in table:
        raise _wrong(
            path, f"{where} has no way to show who they are", "token_sha256 or certificate"
        )
    quota = table.get("quota", {})
    _check(path, f"{where}: quota", quota, _OF_QUOTA)
    return Entry(
        Principal(name, table.get("admin", False), _quota(quota)),
        hashes,
        table.get("certificate"),
        expires,
    )


def _quota(table: Mapping[str, Any]) -> Quota:
    gigabytes = table.get("kept_gigabytes")
    return Quota(
        unfinished_jobs=table.get("unfinished_jobs"),
        kept_nbytes=None if gigabytes is None else int(gigabytes * _GIGABYTE),
        streams=table.get("streams"),
        submissions_a_minute=table.get("submissions_a_minute"),
        max_priority=table.get("max_priority"),
    )


def _check(path: Path, where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    """Only known keys, of their own kind; numbers are not negative."""
    for key, value in table.items():
        if key not in known:
            raise _wrong(path, f"{where} has the key {key}", f"one of {', '.join(known)}")
        kinds = _KINDS[key]
        number = not isinstance(value, bool) and isinstance(value, (int, float))
        right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not right or (number and not 0 <= value < float("inf")):
            expected = _WORDS.get(kinds[0], "a number, 0 or more")
            raise _wrong(path, f"{where}: {key} = {value!r}", expected)


def _wrong(path: Path, given: str, expected: str) -> InputError:
    return InputError(
        f"{path} {given}",
        expected=expected,
        action="see docs/security.md for an example",
        field="access",
    )
