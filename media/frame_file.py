"""One file of frames: it gets its name when the last one is in it, or is removed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from wan_trt.media.disk_space import require_space
from wan_trt.media.frame_extent import FrameExtent
from wan_trt.media.partial_output import PartialFile, output_error


class Closed(Protocol):
    """What an open file is here; closing it again does nothing."""

    def close(self) -> None: ...


F = TypeVar("F", bound=Closed)


class FrameFile(Generic[F]):
    """The file under its hidden name, and how many frames it was promised."""

    def __init__(
        self, target: Path, extent: FrameExtent, create: Callable[[Path], F], nbytes: int = 0
    ) -> None:
        """`create` opens a new file at the path that it is given; of `nbytes`, if that is known.
        Raises MediaError for an unwritable place, ResourceError when the disk is too full."""
        self.extent = extent
        self._partial = PartialFile(target)
        self._ended = False
        with self.failing():
            if nbytes:
                require_space(target, nbytes)
            self.open = create(self._partial.path)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """What the system says of the file goes to the caller as an error of ours."""
        try:
            yield
        except OSError as error:
            raise output_error(self._partial.target, error) from error

    def close(self, finish: Callable[[], None] | None = None) -> None:
        """Give the file its name; `finish` writes what comes last. Raises ExecutionError while
        frames are missing."""
        if self._ended:
            return
        try:
            with self.failing():
                self.extent.require_complete()
                if finish is not None:
                    finish()
                self.open.close()
                self._partial.commit()
        finally:
            self.abort()

    def abort(self) -> None:
        """Remove the unfinished file; idempotent."""
        self._ended = True
        self._partial.discard()
        # A full disk refuses what is still to be written, of a file that is gone anyway.
        with contextlib.suppress(OSError):
            self.open.close()
