"""Who waits for small pictures of a job's next step."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray


class PreviewRequests:
    """Of one job: asked for from any thread, answered by the one that makes the step."""

    def __init__(self) -> None:
        self._waiting: list[Future[NDArray[np.uint8]]] = []
        self._closed = False
        self._lock = threading.Lock()

    def ask(self) -> Future[NDArray[np.uint8]]:
        """Cancelled when the job ends before it makes a step."""
        preview: Future[NDArray[np.uint8]] = Future()
        with self._lock:
            if self._closed:
                preview.cancel()
            else:
                self._waiting = [other for other in self._waiting if not other.cancelled()]
                self._waiting.append(preview)
        return preview

    def __bool__(self) -> bool:
        """Whether somebody waits who has not given up."""
        with self._lock:
            return any(not preview.cancelled() for preview in self._waiting)

    def answer(self, pictures: NDArray[np.uint8]) -> None:
        """All who wait get these."""
        for preview in self._take():
            if preview.set_running_or_notify_cancel():
                preview.set_result(pictures)

    def close(self) -> None:
        """There will be no more steps."""
        with self._lock:
            self._closed = True
        for preview in self._take():
            preview.cancel()

    def _take(self) -> list[Future[NDArray[np.uint8]]]:
        with self._lock:
            taken, self._waiting = self._waiting, []
        return taken
