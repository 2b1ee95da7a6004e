"""Who waits or runs, and where: a job has its place before it is accepted, and until it is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from wan_trt.engine.errors import without_frames
from wan_trt.server.bundles.registry import BundleEntry, BundleRegistry
from wan_trt.server.errors import QueueFullError, UnavailableError
from wan_trt.server.principal import Principal
from wan_trt.server.quotas import Quotas


@dataclass(frozen=True)
class _Place:
    """`bundle` None: this server has none for the job, which is about to fail."""

    owner: str
    bundle: BundleEntry | None


class Places:
    """At most so many; safe to use from any thread. A bundle stays while it has places."""

    def __init__(self, most: int, quotas: Quotas, bundles: BundleRegistry) -> None:
        self._most = most
        self._quotas = quotas
        self._bundles = bundles
        self._places: dict[str, _Place] = {}
        self._refusal: UnavailableError | None = None
        self._lock = threading.Lock()

    def take(
        self,
        job_id: str,
        caller: Principal,
        bundle: str,
        kept_nbytes: Callable[[], int],
        first_end_s: Callable[[], float | None],
    ) -> BundleEntry:
        """The bundle that makes the job: the one of that name. `kept_nbytes` are the caller's,
        `first_end_s` when a place may be free. Raises as `BundleRegistry.choose`, QueueFullError,
        QuotaError, or what `refuse` was given."""
        with self._lock:
            if self._refusal is not None:
                raise without_frames(self._refusal)
            entry = self._bundles.choose(bundle)
            if len(self._places) >= self._most:
                raise QueueFullError(
                    f"{len(self._places)} jobs wait already",
                    action="try again when some are done, or use another server",
                    retry_after_s=first_end_s(),
                )
            theirs = sum(place.owner == caller.name for place in self._places.values())
            self._quotas.submission(caller, theirs, kept_nbytes)
            self._places[job_id] = _Place(caller.name, entry)
            return entry

    def take_again(self, job_id: str, owner: str, bundle: BundleEntry | None) -> None:
        """Of a job that an earlier process accepted."""
        with self._lock:
            self._places[job_id] = _Place(owner, bundle)

    def give_back(self, job_id: str) -> None:
        with self._lock:
            self._places.pop(job_id, None)

    def bundle_of(self, job_id: str) -> BundleEntry | None:
        with self._lock:
            place = self._places.get(job_id)
            return None if place is None else place.bundle

    def of(self, bundle: BundleEntry) -> list[str]:
        """Ids of a bundle's jobs."""
        with self._lock:
            return [job_id for job_id, place in self._places.items() if place.bundle is bundle]

    def release(self, bundle: BundleEntry) -> bool:
        """Forget a bundle that has no jobs: it gets none any more. False where it has some."""
        with self._lock:
            if any(place.bundle is bundle for place in self._places.values()):
                return False
            self._bundles.remove(bundle)
            return True

    @property
    def refusing(self) -> bool:
        with self._lock:
            return self._refusal is not None

    def refuse(self, error: UnavailableError) -> None:
        """Give no more places."""
        with self._lock:
            self._refusal = error
