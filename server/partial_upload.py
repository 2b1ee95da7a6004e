"""The beginning of a file that a client is sending, or was when the connection broke.

    .<sha256 that it is to have>.<token>.partial

Each call writes a file of its own, and holds a lock on it, so calls with the same content do not
disturb each other. One that goes on from an offset copies the beginning that is there. Nobody
trusts a beginning: the hash is checked over the whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.media.partial_output import sync

MAX_CHUNK_NBYTES = 1 << 20


class PartialUpload:
    """A file that grows to what was announced."""

    def __init__(self, path: Path, name: str, sha256: str) -> None:
        """`name` is what messages call it."""
        self.path = path
        self.spoilt = False
        self._name = name
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._received = 0
        self._file = path.open("xb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def copy(self, beginning: Path, nbytes: int) -> None:
        """Take over the first bytes of an earlier one."""
        with beginning.open("rb") as file:
            while self._received < nbytes:
                content = file.read(min(MAX_CHUNK_NBYTES, nbytes - self._received))
                if not content:
                    raise InputError(
                        f"{nbytes}",
                        expected=f"at most {self._received}, which are there",
                        action="ask UploadStatus again",
                        field="offset",
                    )
                self._take(content)

    def write(self, nbytes: int, chunks: Iterable[bytes]) -> None:
        """Receive the rest of a file of `nbytes`, and bring it to disk. Raises InputError where it
        is not what was announced; what came is of no use then."""
        for chunk in chunks:
            if len(chunk) > MAX_CHUNK_NBYTES or self._received + len(chunk) > nbytes:
                self.spoilt = True
                raise InputError(
                    f"{self._name} came with {len(chunk)} bytes in a chunk, "
                    f"{self._received + len(chunk)} in all",
                    expected=f"chunks of at most {MAX_CHUNK_NBYTES}, {nbytes} in all",
                    field="chunk",
                )
            self._take(chunk)
        found = self._digest.hexdigest()
        if self._received != nbytes or found != self._sha256:
            self.spoilt = True
            raise InputError(
                f"{self._name} arrived with {self._received} bytes, sha256 {found}",
                expected=f"{nbytes} bytes, sha256 {self._sha256}",
                action="send it again",
                field="sha256",
            )
        self._file.flush()
        sync(self.path)

    @property
    def empty(self) -> bool:
        return self._received == 0

    def close(self) -> None:
        """Let go of the file. A full disk refuses the last buffer."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _take(self, content: bytes) -> None:
        self._digest.update(content)
        self._file.write(content)
        self._received += len(content)


@contextmanager
def receiving(folder: Path, name: str, sha256: str, offset: int) -> Iterator[PartialUpload]:
    """A new one, from `offset` on. Where the block raises, the longest that there is of the content
    stays; where it ends well, none does. Raises InputError for an offset behind what is there."""
    if offset < 0:
        raise InputError(f"{offset}", expected="0 or more", field="offset")
    path = folder / f".{sha256}.{secrets.token_hex(4)}.partial"
    partial = PartialUpload(path, name, sha256)
    try:
        if offset:
            partial.copy(_longest(folder, sha256, path) or path, offset)
        yield partial
    except BaseException:
        partial.close()
        if partial.spoilt or partial.empty:
            path.unlink(missing_ok=True)
        _remove_idle(folder, sha256, but=_longest(folder, sha256))
        raise
    partial.close()
    _remove_idle(folder, sha256)


def received_nbytes(folder: Path, sha256: str) -> int:
    """How much there is of a content that is not complete."""
    longest = _longest(folder, sha256)
    return 0 if longest is None else _nbytes(longest)


def _remove_idle(folder: Path, sha256: str, but: Path | None = None) -> None:
    """Remove those that no call writes."""
    for path in _all(folder, sha256):
        if path == but:
            continue
        with contextlib.suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _longest(folder: Path, sha256: str, but: Path | None = None) -> Path | None:
    found = [path for path in _all(folder, sha256) if path != but]
    return max(found, key=_nbytes, default=None)


def _all(folder: Path, sha256: str) -> list[Path]:
    return list(folder.glob(f".{sha256}.*.partial"))


def _nbytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
