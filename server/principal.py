"""Who calls the server, what is theirs to see, and how much of the server they may take."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Quota:
    """What one principal may take at most; None is no limit but the server's own.

    `unfinished_jobs` wait or run; `kept_nbytes` is what their uploads and results have in all;
    `streams` are uploads, watchers and fetches at one time; `submissions_a_minute` counts those
    that are to make a new job, also where it is then refused; `max_priority` is the highest that
    they may give a job.
    """

    unfinished_jobs: int | None = None
    kept_nbytes: int | None = None
    streams: int | None = None
    submissions_a_minute: int | None = None
    max_priority: float | None = None


@dataclass(frozen=True)
class Principal:
    """`name` is on whose account jobs go; an `admin` sees and cancels everybody's."""

    name: str
    admin: bool = False
    quota: Quota = field(default_factory=Quota)

    def may_see(self, owner: str) -> bool:
        """Whether a job that `owner` submitted is any business of theirs."""
        return self.admin or self.name == owner

    def receives_for(self, owner: str) -> bool:
        """Whether a result of `owner` that they fetched has reached who wanted it: an admin who
        looks into somebody's job does not."""
        return self.name in ("", owner)


EVERYBODY = Principal("", admin=True)
"""All callers of a server that does not ask who they are."""
