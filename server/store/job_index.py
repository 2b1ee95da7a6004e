"""Which jobs there are, page by page: what SQLite's indexes find, without a look at each job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wan_trt.engine.request import JobState
from wan_trt.server.store.database import Database


@dataclass(frozen=True)
class JobFilter:
    """All of it must fit. No states are all states; `owner` None is everybody. Times are seconds
    since 1970; `submitted_before` is exclusive."""

    states: Sequence[JobState] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    submitted_from: float | None = None
    submitted_before: float | None = None
    owner: str | None = None


@dataclass(frozen=True)
class IndexedJob:
    """`arrival` counts accepted jobs; no number is ever given twice."""

    arrival: int
    job_id: str


class JobIndex:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, asked: JobFilter, before: int | None, count: int) -> list[IndexedJob]:
        """Up to `count` jobs that fit, the newest first, of those that arrived before the job with
        the number `before`."""
        text, values = query(asked, before)
        with self._database.reading() as connection:
            rows = connection.execute(text, [*values, count]).fetchall()
        return [IndexedJob(*row) for row in rows]


def query(asked: JobFilter, before: int | None) -> tuple[str, list[object]]:
    """The statement and its values; the number of rows is still missing."""
    terms: list[str] = []
    values: list[object] = []

    def require(term: str, *given: object) -> None:
        terms.append(term)
        values.extend(given)

    if before is not None:
        require("arrival < ?", before)
    if asked.owner is not None:
        require("owner = ?", asked.owner)
    if asked.states:
        require(f"state IN ({', '.join('?' * len(asked.states))})", *asked.states)
    if asked.submitted_from is not None:
        require("submitted >= ?", asked.submitted_from)
    if asked.submitted_before is not None:
        require("submitted < ?", asked.submitted_before)
    for key, value in asked.labels.items():
        require("arrival IN (SELECT arrival FROM labels WHERE key = ? AND value = ?)", key, value)
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    return f"SELECT arrival, job_id FROM jobs{where} ORDER BY arrival DESC LIMIT ?", values
