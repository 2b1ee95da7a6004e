"""The unfinished jobs of each bundle: they run in its engine, wait for it, or end with it."""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import (
    BundleError,
    CancelledError,
    ExecutionError,
    NotFoundError,
    ResourceError,
    StorageFullError,
    WanTrtError,
)
from wan_trt.engine.request import Event, JobState
from wan_trt.server.bundles.registry import BundleEntry
from wan_trt.server.bundles.state import BundleState
from wan_trt.server.errors import UnavailableError
from wan_trt.server.job_record import JobRecord
from wan_trt.server.job_records import JobRecords
from wan_trt.server.places import Places
from wan_trt.server.store.store import Store, StoredJob
from wan_trt.server.uploads import Uploads
from wan_trt.server.waiting import WaitingJob, WaitingJobs

_log = logging.getLogger(__name__)


class BundleJobs:
    """Safe to use from any thread."""

    def __init__(self, places: Places, records: JobRecords, store: Store, uploads: Uploads) -> None:
        self._places = places
        self._records = records
        self._store = store
        self._uploads = uploads
        self._waiting = WaitingJobs()

    @property
    def refusing(self) -> bool:
        """Whether no bundle takes jobs any more, as the server is stopping."""
        return self._places.refusing

    def of(self, bundle: BundleEntry) -> list[JobRecord]:
        """Jobs that a bundle makes, or would if it could."""
        return self._records.find(self._places.of(bundle))

    def release(self, bundle: BundleEntry) -> bool:
        """See `Places.release`."""
        return self._places.release(bundle)

    def cancel_all(self, bundle: BundleEntry) -> None:
        """Have all jobs of a bundle end that are not about to."""
        for record in self.of(bundle):
            if not self._store.is_cancelled(record.job_id):
                with contextlib.suppress(StorageFullError):
                    self._store.cancel(record.job_id)
                self.cancel(record)

    def go_on(self, bundle: BundleEntry) -> None:
        """The bundle is at work: so are the jobs that waited for it."""
        for job in self._waiting.take(bundle.digest):
            try:
                self.resume(job.stored, job.record, bundle)
            except ResourceError as error:
                _log.warning("job %s cannot go on yet: %s", job.record.job_id, error)
                self._waiting.add(job)
            if self._store.is_cancelled(job.record.job_id):  # meanwhile, and was not found
                self.cancel(job.record)

    def resume(self, stored: StoredJob, record: JobRecord, bundle: BundleEntry | None) -> None:
        """Let a job go on, or wait, or end it. Raises ResourceError."""
        try:
            if bundle is None:
                raise BundleError(
                    f"job {stored.job_id} was accepted for the bundle {stored.bundle[:12]}, which "
                    "this server does not have",
                    expected="the same bundle until all jobs are done",
                    action="submit it again",
                )
            if bundle.served is not None:
                bundle.served.intake.resume(stored, record, record.submission)
            elif stored.cancelled:
                raise CancelledError(f"job {stored.job_id} was cancelled")
            else:
                self._waiting.add(WaitingJob(stored, record))
                record.add(Event(0, stored.job_id, JobState.QUEUED, error=bundle.error))
        except ResourceError:
            raise  # the machine's fault, not the job's
        except WanTrtError as error:
            record.fail(self._uploads.retell(error))
        except Exception as error:
            record.fail(
                ExecutionError(
                    f"job {stored.job_id} cannot be taken up ({type(error).__name__}: {error})",
                    action="submit it again",
                )
            )

    def end_overdue(self) -> None:
        """Fail those that waited for a bundle until their time was over."""
        self._waiting.end_overdue()

    def cancel(self, record: JobRecord) -> None:
        """Have one end, wherever it is; the store has been told."""
        bundle = self._places.bundle_of(record.job_id)
        waited = self._waiting.take_one(record.job_id)
        if waited or bundle is None or bundle.served is None or bundle.state is BundleState.BROKEN:
            record.fail(CancelledError(f"job {record.job_id} was cancelled"))
            return
        with contextlib.suppress(NotFoundError):  # over, or `go_on` is about to look at the store
            bundle.served.intake.cancel(record.job_id)

    def preview(self, job_id: str) -> Future[NDArray[np.uint8]]:
        """See `Engine.preview`."""
        bundle = self._places.bundle_of(job_id)
        if bundle is None or bundle.served is None:
            raise NotFoundError(f"job {job_id} is not at work")
        return bundle.served.engine.preview(job_id)

    def fail(self, bundle: BundleEntry, error: WanTrtError) -> None:
        """End all jobs in an engine that can no longer do it."""
        for record in self.of(bundle):
            record.fail(error)

    def leave(self, bundle: BundleEntry, error: UnavailableError) -> None:
        """Leave a bundle's jobs to the next process; whoever watches them gets `error`."""
        if bundle.served is not None:
            bundle.served.intake.close_all()
        for record in self.of(bundle):
            record.leave(error)
