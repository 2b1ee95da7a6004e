"""The folder of one server.

lock            held by the server that uses it
jobs.sqlite3    the job store
uploads/ID      what clients sent, see uploads.py
jobs/ID/        one folder a job, see job_folder.py
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.server.store.job_folder import JobFolder
from wan_trt.server.store.lock import FolderLock
from wan_trt.server.store.store import Store


class DataFolder:
    """Opened by one server at a time."""

    def __init__(self, path: Path, durable: bool = True) -> None:
        """`durable`: what is accepted survives the machine. Raises InputError for a folder that
        cannot be written, that another server uses, or that another version wrote."""
        self.path = path.absolute()
        self.durable = durable
        self.uploads = self.path / "uploads"
        self._jobs = self.path / "jobs"
        try:
            for folder in (self.uploads, self._jobs):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path / "lock")
        except OSError as error:
            raise InputError(
                f"{path}: {error.strerror}", expected="a folder that can be written", field="data"
            ) from None
        try:
            self.store = Store(self.path / "jobs.sqlite3", durable)
        except BaseException:
            self._lock.close()
            raise

    def job(self, job_id: str) -> JobFolder:
        return JobFolder(self._jobs / job_id, self.durable)

    def remove_unknown(self, known: Container[str]) -> None:
        """Remove the folders of jobs that were never accepted, or are forgotten."""
        for folder in self._jobs.iterdir():
            if folder.name not in known:
                self.job(folder.name).remove()

    def close(self) -> None:
        self.store.close()
        self._lock.close()
