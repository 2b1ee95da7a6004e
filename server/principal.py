"""Who calls the server, and what is theirs to see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Principal:
    """`name` is on whose account jobs go; an `admin` sees and cancels everybody's."""

    name: str
    admin: bool = False

    def may_see(self, owner: str) -> bool:
        """Whether a job that `owner` submitted is any business of theirs."""
        return self.admin or self.name == owner


EVERYBODY = Principal("", admin=True)
"""All callers of a server that does not ask who they are."""
