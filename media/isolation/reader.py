"""A MediaReader whose files are opened by a reader process."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.errors import MediaError, MediaLimitError, without_frames
from wan_trt.media.frame_range import check_range
from wan_trt.media.input_files import MAX_SIDE
from wan_trt.media.isolation.messages import (
    Message,
    error_from_message,
    receive,
    receive_into,
    send,
)
from wan_trt.media.isolation.processes import FORK_SERVER, ForkServer, ProcessLimits
from wan_trt.media.isolation.sound import IsolatedSound, format_from_message
from wan_trt.media.limits import MediaLimits
from wan_trt.media.read_ahead import ReadAhead

_DYING_S = 1.0
_CHANNELS = 3

Answer = TypeVar("Answer")


class IsolatedMedia:
    """One reader process, started when the first file is opened; safe to use from any thread.

    What the process answers is checked like what a stranger sends. When it dies, hangs or breaks a
    limit, whoever waits for it and whoever asks later gets a MediaError.
    """

    def __init__(
        self,
        limits: MediaLimits | None = None,
        process: ProcessLimits | None = None,
        fork_server: ForkServer = FORK_SERVER,
    ) -> None:
        self.limits = limits or MediaLimits()
        self._process = process or ProcessLimits()
        self._fork_server = fork_server
        self._asking = threading.Lock()
        self._ending = threading.Lock()
        self._connection: socket.socket | None = None
        self._pid: int | None = None
        self._lost: MediaError | None = None
        self._closed = False
        self._ahead: list[ReadAhead] = []

    @property
    def pid(self) -> int | None:
        """The process; None before it is needed and after it ended."""
        return self._pid

    def frames(self, path: Path | str, field: str | None = None) -> ReadAhead:
        """Raises MediaError, and ResourceError where no process can be started."""

        def opened(connection: socket.socket) -> IsolatedFrames:
            return IsolatedFrames(self, Path(path), field, self.message(connection))

        request = {"ask": "frames", "path": str(path), "field": field}
        self._ahead.append(ReadAhead(self.exchange(request, Path(path), field, opened)))
        return self._ahead[-1]

    def image(self, path: Path | str, field: str | None = None) -> NDArray[np.uint8]:
        """Raises as `frames`."""

        def received(connection: socket.socket) -> NDArray[np.uint8]:
            height, width, channels = self.message(connection)["shape"]
            require_sides(height, width, self.limits.picture_pixels)
            if channels != _CHANNELS:
                raise ValueError(f"a picture of {channels} channels")
            picture = np.empty((height, width, channels), np.uint8)
            self.payload(connection, picture)
            return picture

        request = {"ask": "image", "path": str(path), "field": field}
        return self.exchange(request, Path(path), field, received)

    def noise(self, path: Path | str, field: str | None = "noise") -> IsolatedNoise:
        """Raises as `frames`, and InputError where it is not noise."""

        def opened(connection: socket.socket) -> IsolatedNoise:
            return IsolatedNoise(self, Path(path), field, self.message(connection))

        request = {"ask": "noise", "path": str(path), "field": field}
        return self.exchange(request, Path(path), field, opened)

    def sound(
        self, path: Path | str, duration: Fraction, field: str | None = None
    ) -> IsolatedSound | None:
        """Raises as `frames`."""

        def opened(connection: socket.socket) -> IsolatedSound | None:
            answer = self.message(connection)
            if answer["source"] is None:
                return None
            form = format_from_message(answer["format"])
            return IsolatedSound(self, Path(path), field, answer["source"], form)

        ratio = duration.as_integer_ratio()
        request = {"ask": "sound", "path": str(path), "field": field, "duration": ratio}
        return self.exchange(request, Path(path), field, opened)

    def close(self) -> None:
        """End the process, whatever it is doing; idempotent."""
        self._closed = True
        self._end(0.0)
        for frames in self._ahead:
            frames.close()

    def exchange(
        self,
        request: Message,
        path: Path,
        field: str | None,
        answer: Callable[[socket.socket], Answer],
    ) -> Answer:
        """What `answer` makes of what comes back. Raises the error that the process met with the
        file at `path`, or the one that says how it ended."""
        with self._asking:
            if self._lost is not None:
                raise without_frames(self._lost)
            if self._closed:
                raise _closed(path, field)
            connection = self._connected()
            try:
                send(connection, request)
                return answer(connection)
            except TimeoutError:
                self._lost = self._too_slow(path, field, "wall_s", self._process.wall_s)
                self._end(0.0)
            except (EOFError, OSError):
                if self._closed:
                    raise _closed(path, field) from None
                self._lost = self._death(path, field, self._end(_DYING_S))
            except (ValueError, TypeError, LookupError, ArithmeticError) as error:
                self._lost = _ended(path, field, f"it answered nonsense: {error}")
                self._end(0.0)
            raise self._lost

    def message(self, connection: socket.socket) -> Message:
        """The next one; an error that it tells of is raised."""
        message = receive(connection, self._deadline())
        if "error" in message:
            raise error_from_message(message["error"])
        return message

    def payload(self, connection: socket.socket, array: NDArray[np.generic]) -> None:
        """Fill an array with the bytes that come next."""
        receive_into(connection, array.data.cast("B"), self._deadline())

    def _deadline(self) -> float:
        return time.monotonic() + self._process.wall_s

    def _connected(self) -> socket.socket:
        with self._ending:
            if self._connection is None:
                self._pid, self._connection = self._fork_server.fork(self.limits, self._process)
                # The process ends by itself when nobody can ask it any more.
                weakref.finalize(self, self._connection.close)
            self._connection.settimeout(self._process.wall_s)
            return self._connection

    def _end(self, grace_s: float) -> int | None:
        """How the process ended; None where nobody knows, or nobody asked before."""
        with self._ending:
            connection, pid = self._connection, self._pid
            self._connection = self._pid = None
            if connection is None or pid is None:
                return None
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes who waits for an answer
            status = self._fork_server.end(pid, grace_s)
        connection.close()
        return status

    def _death(self, path: Path, field: str | None, status: int | None) -> MediaError:
        if status is not None and -status == signal.SIGXCPU:
            return self._too_slow(path, field, "cpu_s", self._process.cpu_s)
        if status is None:
            return _ended(path, field, "it is gone")
        how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
        return _ended(path, field, f"it ended with {how}")

    def _too_slow(
        self, path: Path, field: str | None, limit: str, seconds: float
    ) -> MediaLimitError:
        return MediaLimitError(
            f"{path}: reading it took too long",
            expected=f"at most {seconds:g} s of it at a time ({limit})",
            action="encode it anew, with more keyframes, or have the limit raised",
            field=field,
        )


class IsolatedFrames:
    """A FrameSource in a reader process."""

    def __init__(
        self, media: IsolatedMedia, path: Path, field: str | None, answer: Message
    ) -> None:
        """Raises ValueError for an answer that cannot be."""
        limits = media.limits
        self._media = media
        self._path = path
        self._field = field
        self._source: int = answer["source"]
        self.count: int = answer["count"]
        self.height: int = answer["height"]
        self.width: int = answer["width"]
        rate = answer["rate"]
        self.rate = None if rate is None else Fraction(int(rate[0]), int(rate[1]))
        require_sides(self.height, self.width, max(limits.frame_pixels, limits.picture_pixels))
        if not 1 <= self.count <= limits.frames or type(self.count) is not int:
            raise ValueError(f"{self.count} frames")

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        """See FrameSource. Raises MediaError also when the process dies of it."""
        check_range(start, stop, self.count)
        frames = np.empty((stop - start, self.height, self.width, _CHANNELS), np.uint8)

        def received(connection: socket.socket) -> NDArray[np.uint8]:
            for frame in frames:
                self._media.message(connection)
                self._media.payload(connection, frame)
            return frames

        request = {"ask": "read", "source": self._source, "start": int(start), "stop": int(stop)}
        return self._media.exchange(request, self._path, self._field, received)

    def close(self) -> None:
        """Its file is closed with the others of the job."""


class IsolatedNoise:
    """A NoiseSource in a reader process."""

    def __init__(
        self, media: IsolatedMedia, path: Path, field: str | None, answer: Message
    ) -> None:
        self._media = media
        self._path = path
        self._field = field
        self._source: int = answer["source"]

    def segment(self, index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """See `FileNoise.segment`. Raises MediaError also when the process dies of it."""
        noise = np.empty(shape, np.float32)

        def received(connection: socket.socket) -> NDArray[np.float32]:
            if tuple(self._media.message(connection)["shape"]) != noise.shape:
                raise ValueError("noise of another shape")
            self._media.payload(connection, noise)
            return noise

        sides = [int(side) for side in shape]
        request = {"ask": "segment", "source": self._source, "index": index, "shape": sides}
        return self._media.exchange(request, self._path, self._field, received)

    def close(self) -> None:
        """Its file is closed with the others of the job."""


def require_sides(height: int, width: int, most_pixels: float) -> None:
    """Raise ValueError for a size that no file within the limits has."""
    whole = type(height) is int and type(width) is int
    if not (whole and min(height, width) >= 1 and max(height, width) <= MAX_SIDE):
        raise ValueError(f"frames of {width}x{height} pixels")
    if height * width > most_pixels:
        raise ValueError(f"frames of {width}x{height} pixels")


def _ended(path: Path, field: str | None, how: str) -> MediaError:
    return MediaError(
        f"{path}: the process that read it is no more ({how})",
        expected="a file that can be read without harm",
        action="encode it anew",
        field=field,
    )


def _closed(path: Path, field: str | None) -> MediaError:
    return MediaError(f"{path}: closed while it was read", field=field)
