"""The registry of jobs: submissions in, records out; all of it in a folder that outlives it.

A job is accepted when its row is in the job store: then its inputs are in its folder, and a server
that is started again takes it up. See docs/jobs.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import (
    StorageFullError,
    WanTrtError,
)
from wan_trt.engine.request import Event, JobState
from wan_trt.server.bundle_jobs import BundleJobs
from wan_trt.server.bundles.registry import BundleRegistry
from wan_trt.server.bundles.served import ServedBundle
from wan_trt.server.errors import UnavailableError
from wan_trt.server.finished_jobs import FinishedJobs
from wan_trt.server.idempotency import OncePerKey
from wan_trt.server.intake import Intake
from wan_trt.server.job_options import JobOptions
from wan_trt.server.job_record import JobRecord
from wan_trt.server.job_records import JobRecords
from wan_trt.server.listing import Page
from wan_trt.server.places import Places
from wan_trt.server.principal import Principal
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.quotas import Quotas, require_priority
from wan_trt.server.retention import FinishedJob
from wan_trt.server.store.data_folder import DataFolder
from wan_trt.server.store.room import Room
from wan_trt.server.store.store import StoredJob
from wan_trt.server.submission import Submission
from wan_trt.server.submission_messages import submission_from_wire
from wan_trt.server.telemetry.context import about_job, current
from wan_trt.server.telemetry.metrics import Metrics
from wan_trt.server.telemetry.tracing import Tracing
from wan_trt.server.telemetry.watched_jobs import WatchedJobs
from wan_trt.server.uploads import Uploads

__all__ = ["JobOptions", "Jobs"]


class Jobs:
    """All jobs of one server, whichever of its bundles makes them; safe to use from any thread."""

    def __init__(
        self,
        bundles: BundleRegistry,
        data: DataFolder,
        uploads: Uploads,
        room: Room,
        options: JobOptions,
        quotas: Quotas | None = None,
        watched: WatchedJobs | None = None,
    ) -> None:
        """Call `recover` before anything else. `watched` is told of all jobs."""
        self._watched = watched or WatchedJobs(Metrics(), Tracing())
        self._bundles = bundles
        self._data = data
        self._uploads = uploads
        self._room = room
        self._options = options
        self._quotas = quotas or Quotas()
        self._places = Places(options.max_unfinished, self._quotas, bundles)
        self._finished = FinishedJobs(data.store, options.retention)
        self._by_key: OncePerKey[JobRecord] = OncePerKey()
        self._records = JobRecords(data.store.index)
        self.of_bundles = BundleJobs(self._places, self._records, data.store, uploads)

    def at_work(self, engine: Engine, on_crash: Callable[[Exception], None]) -> ServedBundle:
        """What makes jobs with an engine; it is not started yet."""
        parts = engine, self._data, self._uploads, self._room, self._options
        intake = Intake(*parts, on_event=self._note)
        return ServedBundle(engine, intake, self._data.store, on_crash)

    def recover(self) -> None:
        """Know the jobs of earlier processes; those that are not finished go on where they were,
        in the order of their arrival. One whose bundle is broken waits until it is not; one that
        cannot go on ends with an error."""
        self._data.store.count_deaths()
        jobs = self._data.store.jobs()
        self._data.remove_unknown({job.job_id for job in jobs})
        for job in jobs:
            self._take_up(job)
        self.tidy()

    def submit(
        self,
        submission: Submission,
        request: bytes,
        caller: Principal,
        within_s: float | None = None,
    ) -> JobRecord:
        """Check a submission and queue its job. `request` is the message that it came as; it tells
        submissions with one key apart. `within_s` is a time limit besides the submission's own.

        Raises InputError for what cannot be done, NotFoundError for a bundle that is not here,
        ResourceError when too many jobs wait, QuotaError when the caller has too much of something,
        NotReadyError for a bundle that takes no jobs, UnavailableError where none does, as when the
        server is stopping.
        """
        return self._by_key.run(
            caller.name,
            submission.idempotency_key,
            hashlib.sha256(request).digest(),
            lambda: self._start(submission, request, caller, within_s),
        )

    def get(self, job_id: str, caller: Principal) -> JobRecord:
        """Raises NotFoundError, also for a job that the caller may not know of."""
        record = self._records.get(job_id, caller)
        about_job(job_id)
        return record

    def page(self, page: Page) -> tuple[list[JobRecord], str]:
        """Jobs, and what asks for the next page; empty where there is none."""
        return self._records.page(page)

    def cancel(self, job_id: str, caller: Principal) -> JobRecord:
        """Have a job end; one that is over stays as it is. Raises NotFoundError."""
        record = self.get(job_id, caller)
        if not record.latest.state.final:
            with contextlib.suppress(StorageFullError):  # this process will end it anyway
                self._data.store.cancel(job_id)
            self.of_bundles.cancel(record)
        return record

    def mark_fetched(self, record: JobRecord, caller: Principal) -> None:
        """The caller has the whole result: it need not be kept for long, if it was theirs."""
        if caller.receives_for(record.owner):
            self._finished.mark_fetched(record.job_id)

    def room_for_upload(self, caller: Principal, nbytes: int) -> AbstractContextManager[None]:
        """Held while the caller sends so many bytes. Raises QuotaError when it is entered."""
        return self._quotas.upload(caller, nbytes, lambda: self.kept_nbytes(caller.name))

    def kept_nbytes(self, owner: str) -> int:
        """Of the owner's uploads and results."""
        return self._finished.nbytes(owner) + self._uploads.nbytes(owner)

    def refuse(self, error: UnavailableError) -> None:
        """Answer every further submission with `error`."""
        self._places.refuse(error)

    def unfinished(self) -> list[JobRecord]:
        """Jobs whose end is not in the store."""
        return [record for record in self._records.all() if record.job_id not in self._finished]

    def by_state(self) -> Mapping[JobState, int]:
        """How many of the jobs that are known are in each state."""
        return self._records.by_state()

    def leave_unfinished(self, error: UnavailableError) -> None:
        """Leave all jobs to the next process."""
        for bundle in self._bundles.entries:
            self.of_bundles.leave(bundle, error)

    def end_well(self) -> None:
        """This process ends as it should: what those before it died of is past."""
        with contextlib.suppress(StorageFullError):
            self._data.store.forgive_deaths()

    def tidy(self) -> None:
        """Store what waited for room, and forget what is old."""
        for record in self.unfinished():
            record.flush()
        for bundle in self._bundles.entries:
            if bundle.served is not None:
                bundle.served.tidy()
                self.of_bundles.go_on(bundle)
        self.of_bundles.end_overdue()
        self._forget_old()
        self._uploads.remove_older(self._options.retention.age_s)

    def _forget_old(self) -> None:
        for job_id in self._finished.take_old():
            if (record := self._records.remove(job_id)) is not None:
                self._by_key.forget(record.owner, record.idempotency_key)
            self._data.job(job_id).remove()

    def _start(
        self, submission: Submission, request: bytes, caller: Principal, within_s: float | None
    ) -> JobRecord:
        now = time.time()
        limits = [limit for limit in (submission.timeout_s, within_s) if limit is not None]
        job_id = uuid.uuid4().hex
        about_job(job_id)
        self._watched.enter(job_id, current(), bool(limits))
        try:
            require_priority(caller, submission.priority)
            kept_nbytes = partial(self.kept_nbytes, caller.name)
            bundle = self._places.take(
                job_id, caller, submission.bundle, kept_nbytes, self._first_end_s
            )
            assert bundle.served is not None, "only such take jobs"
            stored = StoredJob(
                job_id=job_id,
                idempotency_key=submission.idempotency_key,
                request=request,
                bundle=bundle.digest,
                submitted=now,
                deadline=now + min(limits) if limits else None,
                owner=caller.name,
                bundle_name=bundle.name,
            )
            record = self._record(stored, submission)
            bundle.served.intake.begin(stored, record, submission)
        except BaseException as error:
            self._watched.refused(job_id, error)
            self._places.give_back(job_id)
            self._records.remove(job_id)
            if isinstance(error, WanTrtError):
                raise self._uploads.retell(error) from error
            raise
        with contextlib.suppress(StorageFullError):
            self._data.store.origins.add(job_id, current())
        return record

    def _first_end_s(self) -> float | None:
        """When the first job may be done."""
        left = [record.latest.eta_s for record in self.unfinished()]
        return min((eta_s for eta_s in left if eta_s is not None), default=None)

    def _record(self, stored: StoredJob, submission: Submission) -> JobRecord:
        return JobRecord(
            stored,
            submission,
            stored.bundle_name,
            self._data.job(stored.job_id).path / submission.output_format.result_name,
            self._data.store,
            self._settle,
        )

    def _take_up(self, stored: StoredJob) -> None:
        bundle = self._bundles.of_digest(stored.bundle)
        if not stored.bundle_name and bundle is not None:  # stored before names were
            stored = replace(stored, bundle_name=bundle.name)
        submission = submission_from_wire(wire.SubmitRequest.FromString(stored.request))
        record = self._record(stored, submission)
        self._records.add(record)
        content = hashlib.sha256(stored.request).digest()
        self._by_key.remember(stored.owner, stored.idempotency_key, content, record)
        if stored.finished is not None:
            self._data.store.know_state(stored.job_id, record.latest.state)
            self._clear(record, record.latest)
            wanted = record.latest.state is JobState.DONE and not stored.fetched
            job = FinishedJob(stored.job_id, stored.finished, stored.result_nbytes, wanted)
            self._finished.add(job, stored.owner)
            return
        self._places.take_again(stored.job_id, stored.owner, bundle)
        work = self._data.store.origins.of(stored.job_id, stored.owner)
        self._watched.enter(stored.job_id, work, stored.deadline is not None)
        self.of_bundles.resume(stored, record, bundle)

    def _note(self, record: JobRecord, event: Event) -> None:
        """Take an event from the engine; the first one makes the job known, the last frees it."""
        if isinstance(event.error, WanTrtError):
            event = replace(event, error=self._uploads.retell(event.error))
        self._records.add(record)
        record.add(event)

    def _settle(self, record: JobRecord, event: Event) -> None:
        """The job is over, and the store knows it; nobody else does yet."""
        self._clear(record, event)
        self._watched.noted(event)
        self._places.give_back(record.job_id)
        done = event.state is JobState.DONE
        job = FinishedJob(record.job_id, time.time(), record.nbytes(event), done)
        self._finished.add(job, record.owner)
        self._forget_old()

    def _clear(self, record: JobRecord, event: Event) -> None:
        """Nothing is kept of a job but its result, and what somebody is reading."""
        folder = self._data.job(record.job_id)
        if event.state is JobState.DONE:
            record.when_read(lambda: folder.keep_result(record.path))
        else:
            folder.remove()
