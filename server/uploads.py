"""Files that clients sent, stored by their content, for each owner apart.

    DATA/uploads/<sha256><suffix>                     of a server that does not ask who calls
    DATA/uploads/<hash of the owner>/<sha256><suffix>

The name of the stored file is the upload id: nothing of what a client calls its file reaches the
file system but a checked suffix, and sending the same file again finds it already there. A job
that uses a file has a link of its own to it, so uploads may be removed at any time. What came of a
file before the connection broke is kept beside (partial_upload.py).

Who knows the hash of somebody's file has not shown that they have the file: an id is of use only to
who sent the content, and Upload does not tell whether somebody else has sent it before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath

from wan_trt.engine.errors import InputError, NotFoundError, ResourceError, WanTrtError
from wan_trt.media.partial_output import sync
from wan_trt.server.partial_upload import MAX_CHUNK_NBYTES, received_nbytes, receiving

REMEMBERED_NAMES = 10_000  # a file whose name is forgotten is told by its id
_SHA256 = "[0-9a-f]{64}"
_SUFFIX = r"\.[a-z0-9]{1,12}"
_UPLOAD_ID = re.compile(f"{_SHA256}(?:{_SUFFIX})?")


@dataclass(frozen=True)
class Announced:
    """What a client says of a file that it sends, from byte `offset` on."""

    name: str
    nbytes: int
    sha256: str
    offset: int = 0


class Uploads:
    """A folder of uploaded files."""

    def __init__(self, folder: Path, max_nbytes: int) -> None:
        """`max_nbytes` limits one file. The folder is made if it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_nbytes = max_nbytes
        self._names: OrderedDict[str, str] = OrderedDict()
        self._naming = threading.Lock()
        # Of an upload, or of a job's link to one, which lies beside: jobs/ID/inputs/UPLOAD.
        places = f"(?:{re.escape(folder.name)}(?:/[0-9a-f]+)?|jobs/[0-9a-f]+/inputs)"
        self._stored = re.compile(
            f"{re.escape(str(folder.parent))}/{places}/({_UPLOAD_ID.pattern})"
        )

    def receive(
        self,
        file: Announced,
        chunks: Iterable[bytes],
        owner: str,
        place: AbstractContextManager[object] | None = None,
    ) -> str:
        """Store a file and return its upload id. `place` is held while it is written.

        `chunks` is not read at all where the owner has sent it before. What was received of a file
        when `chunks` fails is kept, see `received`. Raises InputError when the content is not what
        was announced, ResourceError when the disk is full.
        """
        self._check(file)
        upload_id = _upload_id(file.name, file.sha256)
        self._remember(upload_id, _shown(file.name))
        folder = self._folder_of(owner)
        target = folder / upload_id
        if target.is_file():
            target.touch()  # not one of the old ones that are removed
            return upload_id
        try:
            with place or contextlib.nullcontext():
                self._make(folder)
                with receiving(folder, _shown(file.name), file.sha256, file.offset) as partial:
                    partial.write(file.nbytes, chunks)
                    partial.path.replace(target)
                sync(folder)
        except OSError as error:
            raise _disk_error(error) from error
        return upload_id

    def received(self, name: str, sha256: str, owner: str) -> tuple[str, int]:
        """The upload id, empty unless the owner has sent the whole file, and how many bytes of it
        are there. Raises InputError for what is no hash."""
        _check_hash(sha256)
        upload_id = _upload_id(name, sha256)
        folder = self._folder_of(owner)
        with contextlib.suppress(FileNotFoundError):
            nbytes = (folder / upload_id).stat().st_size
            (folder / upload_id).touch()
            return upload_id, nbytes
        return "", received_nbytes(folder, sha256)

    def take(
        self,
        name: str,
        file: BufferedReader,
        owner: str,
        place: Callable[[int], AbstractContextManager[object]],
    ) -> str:
        """Store a copy of a file of this machine and return its upload id; `place` holds so many
        bytes. Raises InputError also where the file changes meanwhile."""
        nbytes = os.fstat(file.fileno()).st_size
        self._check(Announced(name, nbytes, "0" * 64))  # before all of it is read
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        chunks = iter(lambda: file.read(MAX_CHUNK_NBYTES), b"")
        return self.receive(Announced(name, nbytes, sha256), chunks, owner, place(nbytes))

    def path(self, upload_id: str, field: str, owner: str) -> Path:
        """The file that the owner has sent. Raises NotFoundError, and InputError for what cannot be
        an id."""
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise InputError(
                f"upload id {upload_id[:100]!r}",
                expected="what Upload returned",
                action="upload the file",
                field=field,
            )
        path = self._folder_of(owner) / upload_id
        if not path.is_file():
            raise NotFoundError(f"no upload {upload_id!r}", action="upload the file", field=field)
        return path

    def remove_older(self, age_s: float) -> None:
        """Remove files that were last sent longer ago."""
        before = time.time() - age_s
        for file in self._folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if file.is_file() and file.stat().st_mtime < before:
                    file.unlink()

    def nbytes(self, owner: str) -> int:
        """Of all files that the owner has sent and that are still there."""
        total = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder_of(owner)) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_file():
                        total += entry.stat().st_size
        return total

    def retell(self, error: WanTrtError) -> WanTrtError:
        """The same error with the client's file names instead of the paths of stored files."""
        given = self._stored.sub(lambda match: self._names.get(match[1], match[1]), error.given)
        if given == error.given:
            return error
        return type(error)(given, expected=error.expected, action=error.action, field=error.field)

    def _folder_of(self, owner: str) -> Path:
        if not owner:
            return self._folder
        return self._folder / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            sync(folder.parent)

    def _remember(self, upload_id: str, name: str) -> None:
        with self._naming:
            self._names[upload_id] = name
            self._names.move_to_end(upload_id)
            while len(self._names) > REMEMBERED_NAMES:
                self._names.popitem(last=False)

    def _check(self, file: Announced) -> None:
        _check_hash(file.sha256)
        if not 0 < file.nbytes <= self._max_nbytes:
            raise InputError(
                f"{_shown(file.name)} has {file.nbytes} bytes",
                expected=f"1 to {self._max_nbytes}",
                action="send a file that is whole, and not longer than that",
                field="nbytes",
            )
        if shutil.disk_usage(self._folder).free < file.nbytes:
            raise ResourceError(
                f"{_shown(file.name)} has {file.nbytes} bytes, more than the disk has free",
                action="ask for room, or use another server",
            )


def _check_hash(sha256: str) -> None:
    if not re.fullmatch(_SHA256, sha256):
        raise InputError(
            f"sha256 {sha256[:100]!r}", expected="64 lower-case hex digits", field="sha256"
        )


def _upload_id(name: str, sha256: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return sha256 + (suffix if re.fullmatch(_SUFFIX, suffix) else "")


def _shown(name: str) -> str:
    """A client's name for a file as it may stand in a message: short, printable, no folders."""
    printable = "".join(c if c.isprintable() else "?" for c in PurePosixPath(name).name)
    return printable[-100:] or "the file"


def _disk_error(error: OSError) -> ResourceError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return ResourceError(
        "the server's disk is full" if full else f"the server cannot store it ({error.strerror})",
        action="ask for room, or use another server",
    )
