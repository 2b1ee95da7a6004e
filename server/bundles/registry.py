"""The set of bundles of one server: which there are, in which state, and who gets a job."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.errors import NotFoundError, ResourceError, WanTrtError
from wan_trt.server.bundles.served import ServedBundle
from wan_trt.server.bundles.state import BundleState
from wan_trt.server.errors import NotReadyError, UnavailableError

MOST_BUNDLES = 16
"""Broken ones too. It bounds what metrics and health tell."""


@dataclass(eq=False)
class BundleEntry:
    """One name. `served` is there from SERVING on, and stays in DRAINING; where it is there and the
    state is BROKEN, the engine stopped by a bug. `digest` is empty until it is known."""

    name: str
    path: Path
    state: BundleState
    digest: str = ""
    served: ServedBundle | None = None
    error: WanTrtError | None = None
    leaving: bool = False  # it goes when its jobs are over


class BundleRegistry:
    """Safe to use from any thread. Decides; it opens and closes nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, BundleEntry] = {}

    @property
    def entries(self) -> list[BundleEntry]:
        """In the order in which they came."""
        with self._lock:
            return list(self._entries.values())

    @property
    def served(self) -> list[ServedBundle]:
        """Those with an engine."""
        return [entry.served for entry in self.entries if entry.served is not None]

    def get(self, name: str) -> BundleEntry:
        """Raises NotFoundError."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                raise self._unknown(name)
            return entry

    def choose(self, name: str) -> BundleEntry:
        """Who takes a new job: the one of that name, or for "" the first that serves. Raises
        NotFoundError, NotReadyError where it does not serve, and UnavailableError where none
        does."""
        with self._lock:
            if name and name not in self._entries:
                raise self._unknown(name)
            asked = [self._entries[name]] if name else list(self._entries.values())
            for entry in asked:
                if entry.state is BundleState.SERVING:
                    return entry
        told = ", ".join(f"{entry.name} is {entry.state}" for entry in asked)
        if not name:
            raise UnavailableError(
                f"no bundle takes jobs: {told}", action="use another server, or try again later"
            )
        raise NotReadyError(
            f"bundle {told}",
            expected="one that is serving",
            action="ask Bundles which are",
            field="bundle",
        )

    def of_digest(self, digest: str) -> BundleEntry | None:
        """Who can go on with a job that was accepted for a bundle."""
        with self._lock:
            return next((e for e in self._entries.values() if e.digest == digest), None)

    def enter(self, name: str, path: Path) -> BundleEntry:
        """A new one, LOADING; or the one that is BROKEN under that name, once more. Raises
        NotReadyError for one that is there, ResourceError where there are too many."""
        with self._lock:
            known = self._entries.get(name)
            if known is None:
                if len(self._entries) >= MOST_BUNDLES:
                    raise ResourceError(
                        f"there are {len(self._entries)} bundles", action="remove one of them"
                    )
                known = BundleEntry(name, path, BundleState.LOADING)
                self._entries[name] = known
                return known
            if known.state is not BundleState.BROKEN:
                raise NotReadyError(
                    f"bundle {name!r} is {known.state} already",
                    expected="a name that is free, or one whose bundle is broken",
                    action="give another name, or remove that one first",
                    field="name",
                )
            if known.served is not None:
                raise NotReadyError(
                    f"the engine of bundle {name!r} stopped by a bug",
                    action="remove it, or start the server again: its jobs then go on",
                    field="name",
                )
            known.path, known.state, known.error = path, BundleState.LOADING, None
            return known

    def restore(self, entry: BundleEntry) -> None:
        """One that earlier processes had, or that this one begins with."""
        with self._lock:
            self._entries[entry.name] = entry

    def serve(self, entry: BundleEntry, served: ServedBundle) -> None:
        with self._lock:
            entry.served, entry.error = served, None
            entry.digest = served.engine.bundle.digest
            entry.state = BundleState.SERVING

    def break_(self, entry: BundleEntry, error: WanTrtError) -> None:
        with self._lock:
            entry.state, entry.error = BundleState.BROKEN, error

    def drain(self, name: str) -> BundleEntry:
        """Raises NotFoundError, and NotReadyError for one that has never served."""
        entry = self.get(name)
        with self._lock:
            if entry.state not in (BundleState.SERVING, BundleState.DRAINING):
                raise NotReadyError(
                    f"bundle {name!r} is {entry.state}",
                    expected="one that serves",
                    action="remove it, or wait until it serves",
                    field="name",
                )
            entry.state = BundleState.DRAINING
        return entry

    def resume(self, entry: BundleEntry) -> bool:
        """A DRAINING one serves again; whether it was one."""
        with self._lock:
            if entry.state is not BundleState.DRAINING or entry.leaving:
                return False
            entry.state = BundleState.SERVING
            return True

    def require_removable(self, entry: BundleEntry) -> None:
        """Raises NotReadyError for one that is being loaded, and for the last one of use."""
        with self._lock:
            others = [e for e in self._entries.values() if e is not entry]
            of_use = (BundleState.SERVING, BundleState.DRAINING)
            if entry.state is BundleState.LOADING:
                raise NotReadyError(
                    f"bundle {entry.name!r} is being loaded",
                    action="wait until it is serving or broken",
                    field="name",
                )
            if entry.state in of_use and not any(e.state in of_use for e in others):
                raise NotReadyError(
                    f"{entry.name!r} is the only bundle",
                    expected="another one that stays",
                    action="add that first, or stop the server",
                    field="name",
                )

    def remove(self, entry: BundleEntry) -> None:
        with self._lock:
            self._entries.pop(entry.name, None)

    def _unknown(self, name: str) -> NotFoundError:
        return NotFoundError(
            f"no bundle {name[:100]!r}",
            expected=f"one of {', '.join(map(repr, self._entries))}, or none for the first",
            action="ask Bundles which there are",
            field="bundle",
        )
