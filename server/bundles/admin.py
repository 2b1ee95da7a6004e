"""What operators do to the set of bundles while jobs run: add, drain, remove.

A bundle is loaded in a thread of its own, and joins those at work when nothing is left that could
be wrong with it. It is in the data folder from then on: the next server has it too.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import (
    BundleError,
    ExecutionError,
    InputError,
    StorageFullError,
    WanTrtError,
)
from wan_trt.server.bundle_jobs import BundleJobs
from wan_trt.server.bundles.loading import BundleRoots, OpenEngine, load_engine, open_again
from wan_trt.server.bundles.messages import Offer, entry_to_wire
from wan_trt.server.bundles.registry import BundleEntry, BundleRegistry
from wan_trt.server.bundles.served import ServedBundle
from wan_trt.server.bundles.state import BundleState
from wan_trt.server.errors import NotReadyError, PermissionDeniedError, UnavailableError
from wan_trt.server.principal import Principal
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.store.bundle_rows import BundleRow, BundleRows

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_LOOK_S = 0.02
_log = logging.getLogger(__name__)

PutToWork = Callable[[BundleEntry, Engine], ServedBundle]
"""Makes what steps an engine, not started."""
Tell = Callable[[str, bool], None]
"""Told the name of a bundle, and whether it takes jobs."""


class BundleAdmin:
    """Changes the registry, one bundle at a time."""

    def __init__(
        self,
        registry: BundleRegistry,
        jobs: BundleJobs,
        rows: BundleRows,
        roots: BundleRoots,
        offer: Offer,
        put_to_work: PutToWork,
        tell: Tell,
        open_engine: OpenEngine | None,
    ) -> None:
        """`open_engine` None: one engine is all that the device has room for."""
        self._registry = registry
        self._jobs = jobs
        self._rows = rows
        self._roots = roots
        self._offer = offer
        self._put_to_work = put_to_work
        self._tell = tell
        self._open_engine = open_engine or _refuse
        self._stopping = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bundles")

    def begin_with(self, engine: Engine) -> None:
        """The bundle that the server is started with: whoever else was there comes after it."""
        path = engine.bundle.path.resolve()
        entry = BundleEntry(path.name, path, BundleState.LOADING)
        self._registry.restore(entry)
        self._registry.serve(entry, self._put_to_work(entry, engine))

    def restore(self) -> None:
        """Have the bundles of earlier processes again. One that cannot be used is BROKEN, and its
        jobs wait."""
        for row in self._rows.all():
            if self._registry.of_digest(row.digest) is not None:
                continue  # the server was started with it
            name = row.name
            if any(entry.name == name for entry in self._registry.entries):
                name = f"{name[:50]}-{row.digest[:8]}"
                _log.warning("there are two bundles %s; the one added is now %s", row.name, name)
                self._rows.remove(row.name)
                row = BundleRow(name, row.path, row.digest, row.draining)
                self._rows.keep(row)
            entry = BundleEntry(name, row.path, BundleState.LOADING, row.digest)
            self._registry.restore(entry)
            try:
                engine = open_again(row, self._open_engine)
                self._registry.serve(entry, self._put_to_work(entry, engine))
            except WanTrtError as error:
                _log.warning("bundle %s is broken: %s", name, error)
                self._registry.break_(entry, error)
                continue
            if row.draining:
                self._registry.drain(name)

    def start(self) -> None:
        """Let those that are there work."""
        for entry in self._registry.entries:
            if entry.served is not None:
                entry.served.start()
            self._tell(entry.name, entry.state is BundleState.SERVING)

    def told(self) -> list[wire.Bundle]:
        """All of them, for clients."""
        return [self._message(entry) for entry in self._registry.entries]

    def add(self, path: str, name: str, caller: Principal) -> wire.Bundle:
        """Begin to load a bundle, or let one that drains serve again. Raises
        PermissionDeniedError for who may not, and for a path that nobody may name, InputError for a
        name that is none, and what `BundleRegistry.enter` does."""
        self._require_allowed(caller)
        folder = self._roots.find(path)
        name = name or folder.name
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name[:100]!r}",
                expected="up to 64 letters, digits and ._-, not beginning with a dot",
                field="name",
            )
        known = next((e for e in self._registry.entries if e.name == name), None)
        if known is not None and known.path == folder and self._registry.resume(known):
            self._rows.set_draining(name, False)
            self._tell(name, True)
            return self._message(known)
        entry = self._registry.enter(name, folder)
        _log.info("bundle %s is loaded from %s, for %s", name, folder, caller.name or "somebody")
        try:
            self._thread.submit(self._load, entry)
        except RuntimeError:  # the thread has ended
            self._registry.break_(entry, _stopping())
            raise _stopping() from None
        return self._message(entry)

    def drain(self, name: str, caller: Principal) -> wire.Bundle:
        """Take no more jobs for it. Raises PermissionDeniedError, and as `BundleRegistry.drain`."""
        self._require_allowed(caller)
        entry = self._drain(name)
        _log.info("bundle %s drains", name)
        return self._message(entry)

    def remove(self, name: str, cancel_jobs: bool, caller: Principal) -> wire.Bundle:
        """Close it, now or when its jobs are cancelled; how it was. Raises PermissionDeniedError,
        NotFoundError, and NotReadyError where it has to stay, or has jobs that do."""
        self._require_allowed(caller)
        entry = self._registry.get(name)
        self._registry.require_removable(entry)
        if not cancel_jobs:
            self._require_no_jobs(entry)
        if entry.state is not BundleState.BROKEN:
            self._drain(name)
        told = self._message(entry)
        entry.leaving = cancel_jobs
        if not cancel_jobs:
            if not self._release(entry):
                self._require_no_jobs(entry)  # one that came meanwhile
        elif not self._cancel_and_release(entry):
            self._thread.submit(self._release_later, entry)
        return told

    def close(self) -> None:
        """Load and remove no more; what is being loaded is not there."""
        self._stopping.set()
        self._thread.shutdown(cancel_futures=True)

    def _drain(self, name: str) -> BundleEntry:
        entry = self._registry.drain(name)
        self._tell(name, False)
        self._rows.set_draining(name, True)
        return entry

    def _message(self, entry: BundleEntry) -> wire.Bundle:
        state = entry.state
        if state is BundleState.SERVING and self._jobs.refusing:
            state = BundleState.DRAINING
        return entry_to_wire(entry, state, len(self._jobs.of(entry)), self._offer)

    def _require_allowed(self, caller: Principal) -> None:
        if not caller.admin:
            raise PermissionDeniedError(
                f"{caller.name} is no admin", expected="one", action="ask the operator"
            )
        self._roots.require_any()

    def _load(self, entry: BundleEntry) -> None:
        """Whatever is wrong with it, nobody else notices."""
        try:
            engine = load_engine(entry.path, self._open_engine, self._require_going_on)
            try:
                self._let_in(entry, engine)
            except BaseException:
                engine.close()
                raise
        except WanTrtError as error:
            _log.warning("bundle %s is broken: %s", entry.name, error)
            self._registry.break_(entry, error)
        except Exception as error:
            _log.exception("bundle %s cannot be used", entry.name)
            self._registry.break_(
                entry, ExecutionError(f"{type(error).__name__}: {error}", action="report it")
            )

    def _let_in(self, entry: BundleEntry, engine: Engine) -> None:
        self._require_going_on()
        digest = engine.bundle.digest
        other = self._registry.of_digest(digest)
        if other is not None and other is not entry:
            raise BundleError(
                f"{entry.path} is the same bundle as {other.name!r}",
                expected="one that is not here yet",
                action="use that one, or remove it first",
            )
        if entry.digest not in ("", digest) and self._jobs.of(entry):
            raise BundleError(
                f"{entry.path} is the bundle {digest[:12]}",
                expected=f"{entry.digest[:12]}, for which jobs wait",
                action="add that one, or remove it with its jobs first",
            )
        served = self._put_to_work(entry, engine)
        self._rows.keep(BundleRow(entry.name, entry.path, digest))
        self._tell(entry.name, True)
        served.start()
        self._registry.serve(entry, served)
        self._jobs.go_on(entry)

    def _require_no_jobs(self, entry: BundleEntry) -> None:
        if left := len(self._jobs.of(entry)):
            raise NotReadyError(
                f"bundle {entry.name!r} has {left} unfinished jobs",
                expected="none",
                action="drain it and wait, or have them cancelled",
                field="name",
            )

    def _cancel_and_release(self, entry: BundleEntry) -> bool:
        self._jobs.cancel_all(entry)
        return self._release(entry)

    def _release(self, entry: BundleEntry) -> bool:
        """Close a bundle, unless it has jobs."""
        if not self._jobs.release(entry):
            return False
        try:
            self._rows.remove(entry.name)
        except StorageFullError as error:  # the next server has it again, and drains it
            _log.warning("bundle %s is not forgotten: %s", entry.name, error)
        self._tell(entry.name, False)
        if entry.served is not None:
            entry.served.stop(suspend=False)
            entry.served = None
        _log.info("bundle %s is gone", entry.name)
        return True

    def _release_later(self, entry: BundleEntry) -> None:
        try:
            while not self._stopping.wait(_LOOK_S):
                if self._cancel_and_release(entry):
                    return
        except Exception:
            _log.exception("bundle %s cannot be removed", entry.name)

    def _require_going_on(self) -> None:
        if self._stopping.is_set():
            raise _stopping()


def _stopping() -> UnavailableError:
    return UnavailableError("the server is stopping", action="use another, or try again later")


def _refuse(_: object) -> Engine:
    raise BundleError(
        "one more bundle on this device",
        expected="one bundle at a time on a GPU, so far",
        action="start another server, on another device",
    )
