"""From a folder that an operator names to an engine whose graphs are open, beside those at work.

A bundle is found wrong here or not at all: every file is compared with its hash, and every graph is
opened with its weights, before the first job can be taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import (
    BundleError,
    ExecutionError,
    InputError,
    ResourceError,
    WanTrtError,
    without_frames,
)
from wan_trt.server.errors import PermissionDeniedError
from wan_trt.server.store.bundle_rows import BundleRow

OpenEngine = Callable[[Bundle], Engine]
_log = logging.getLogger(__name__)


class BundleRoots:
    """Folders that bundles may be added from; without any the set of bundles stays as it is."""

    def __init__(self, roots: Sequence[Path]) -> None:
        """Raises InputError for what is no folder."""
        for root in roots:
            if not root.is_dir():
                raise InputError(
                    f"{root} is no folder",
                    expected="an existing one",
                    action="create it, or correct the path",
                    field="bundle_root",
                )
        self._roots = [root.resolve() for root in roots]

    def require_any(self) -> None:
        """Raises PermissionDeniedError where the operator has named none."""
        if not self._roots:
            raise PermissionDeniedError(
                "this server's bundles cannot be changed",
                expected="a server that was started with --bundle-root",
                action="ask the operator, or start another server",
            )

    def find(self, named: str) -> Path:
        """The folder without links in its path, which is below a root. Raises
        PermissionDeniedError for any other; it does not tell whether that is there."""
        self.require_any()
        try:
            path = Path(named).resolve() if Path(named).is_absolute() else None
        except (OSError, ValueError, RuntimeError):  # a NUL in a name, a loop of links
            path = None
        if path is None or not any(root in path.parents for root in self._roots):
            raise PermissionDeniedError(
                f"{named[:200]!r} is no folder that this server lets callers name",
                expected="the whole path of a bundle below a folder given as --bundle-root, "
                "where links lead too",
                action="copy the bundle there, or ask the operator",
                field="path",
            )
        return path


def load_engine(path: Path, open_engine: OpenEngine, go_on: Callable[[], None]) -> Engine:
    """An engine with all graphs loaded. `go_on` is called now and then, and may raise. Raises one
    of the tree's errors, and then nothing is left open."""
    with _typed(path):
        bundle = Bundle.open(path)
        bundle.verify(lambda _done, _total: go_on())
        engine = open_engine(bundle)
        try:
            engine.load()
        except BaseException:
            engine.close()
            raise
        return engine


def open_again(row: BundleRow, open_engine: OpenEngine) -> Engine:
    """The engine of a bundle whose files were found to be right when it was added. Raises one of
    the tree's errors, also where it is another bundle now."""
    with _typed(row.path):
        bundle = Bundle.open(row.path)
        if bundle.digest != row.digest:
            raise BundleError(
                f"{row.path} is the bundle {bundle.digest[:12]}",
                expected=f"{row.digest[:12]}, as it was added",
                action="put that back, or remove the bundle here and add it again",
            )
        return open_engine(bundle)


@contextmanager
def _typed(path: Path) -> Iterator[None]:
    """Whatever is raised inside as one of the tree's errors, without its frames."""
    try:
        yield
    except WanTrtError as error:
        raise without_frames(error) from None
    except OSError as error:
        raise BundleError(
            f"{error.filename or path} cannot be read ({error.strerror or error})",
            expected="files that this user may read",
            action="check the bundle and its permissions",
        ) from None
    except MemoryError:
        raise ResourceError(f"no memory for {path}", action="remove a bundle first") from None
    except Exception as error:
        _log.exception("%s cannot be loaded", path)
        raise ExecutionError(
            f"{path} cannot be loaded ({type(error).__name__}: {error})",
            action="report it as a bug",
        ) from None
