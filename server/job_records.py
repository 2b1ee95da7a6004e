"""The jobs that a server knows, by their ids and page by page."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from wan_trt.engine.errors import NotFoundError
from wan_trt.engine.request import JobState
from wan_trt.server.job_record import JobRecord
from wan_trt.server.listing import Page
from wan_trt.server.principal import Principal
from wan_trt.server.store.job_index import JobIndex


class JobRecords:
    """Safe to use from any thread."""

    def __init__(self, index: JobIndex) -> None:
        """`index` finds what is on a page."""
        self._index = index
        self._records: dict[str, JobRecord] = {}
        self._lock = threading.Lock()

    def add(self, record: JobRecord) -> None:
        with self._lock:
            self._records[record.job_id] = record

    def remove(self, job_id: str) -> JobRecord | None:
        with self._lock:
            return self._records.pop(job_id, None)

    def find(self, job_ids: Iterable[str]) -> list[JobRecord]:
        """Of those that are known."""
        with self._lock:
            found = [self._records.get(job_id) for job_id in job_ids]
        return [record for record in found if record is not None]

    def all(self) -> list[JobRecord]:
        with self._lock:
            return list(self._records.values())

    def get(self, job_id: str, caller: Principal) -> JobRecord:
        """Raises NotFoundError, also for a job that the caller may not know of."""
        with self._lock:
            record = self._records.get(job_id)
        if record is not None and caller.may_see(record.owner):
            return record
        raise NotFoundError(
            f"no job {job_id[:100]!r}",
            expected="an id that Submit returned",
            action="check it; old jobs are forgotten",
            field="job_id",
        )

    def page(self, page: Page) -> tuple[list[JobRecord], str]:
        """Jobs, and what asks for the next page; empty where there is none."""
        found = self._index.page(page.asked, page.before, page.count + 1)
        more = len(found) > page.count
        found = found[: page.count]
        with self._lock:
            records = [self._records.get(job.job_id) for job in found]
        states = set(page.asked.states)
        fitting = [
            record  # which may have gone on meanwhile
            for record in records
            if record is not None and (not states or record.latest.state in states)
        ]
        return fitting, page.token(found[-1].arrival) if more else ""

    def by_state(self) -> Mapping[JobState, int]:
        """How many are in each state."""
        return Counter(record.latest.state for record in self.all())
