"""Bearer tokens, and what is kept of them.

A token is 256 random bits, so a plain SHA-256 of it is all that has to be kept. Slow hashes such as
argon2 are for what people remember and others guess; here they would only make every call slow.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

PREFIX = "wantrt_"
"""Lets people, and tools that look for secrets in the wrong places, tell what it is."""

_HEADER = re.compile(r"[Bb]earer +([\x21-\x7e]{1,200})")


def new_token() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def hash_of_token(token: str) -> str:
    """SHA-256, 64 lower-case hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def token_of_header(value: str) -> str | None:
    """The token in the value of an `authorization` header; None in what has no such form."""
    match = _HEADER.fullmatch(value)
    return match[1] if match else None


def same_hash(one: str, other: str) -> bool:
    """In a time that does not depend on where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())
