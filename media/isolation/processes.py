"""Reader processes: started, and ended, by the one fork server of this process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from typing import Any

from wan_trt.engine.errors import ResourceError
from wan_trt.media.isolation.fork_server import PACKET_NBYTES
from wan_trt.media.limits import MediaLimits

_START_S = 60.0
# It finds our packages where this process found them, however it was started.
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from wan_trt.media.isolation.fork_server import main
main(int(sys.argv[2]))
"""
# Nothing else of the environment: it may hold secrets.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ")
# Memory for each thread that allocates, or for each processor, is not wanted.
_FRUGAL = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class ProcessLimits:
    """What one reader process may take. `memory_nbytes` besides the files that it maps; `cpu_s` of
    processor time for one answer, over all its threads; `wall_s` until what comes next."""

    memory_nbytes: int = 4 * 10**9
    cpu_s: float = 300.0
    wall_s: float = 60.0
    open_files: int = 64


class ForkServer:
    """Starts when the first reader is wanted, or by `warm`; starts again where it was killed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    def warm(self) -> None:
        """Start it, and do not wait until it is ready."""
        with self._lock:
            self._started()

    def fork(self, media: MediaLimits, process: ProcessLimits) -> tuple[int, socket.socket]:
        """A new reader: its process id, and the socket on which it answers. Raises ResourceError
        where there is none to be had."""
        request = {"ask": "fork", "limits": asdict(media), **asdict(process)}
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                try:
                    answer = self._ask(request, theirs)
                except OSError:  # it is gone: another one may have more luck
                    self._stop()
                    answer = self._ask(request, theirs)
            if "pid" not in answer:
                raise OSError(answer.get("error", "it answers nothing"))
            return int(answer["pid"]), ours
        except BaseException as error:
            ours.close()
            if isinstance(error, OSError):
                raise ResourceError(
                    f"no process to read media in ({error})",
                    action="try again later, or ask for more processes",
                ) from error
            raise

    def end(self, pid: int, grace_s: float = 0.0) -> int | None:
        """End a reader that has `grace_s` to do so itself. Its exit code, or minus the signal; None
        where nobody knows."""
        with self._lock:
            if self._process is None:
                return None  # its readers ended with it
            try:
                status = self._ask({"ask": "end", "pid": pid, "grace_s": grace_s}).get("status")
            except OSError:
                self._stop()
                return None
            return status if isinstance(status, int) else None

    def close(self) -> None:
        """End it and with it all readers; idempotent."""
        with self._lock:
            self._stop()

    def _ask(self, request: dict[str, Any], given: socket.socket | None = None) -> dict[str, Any]:
        """Raises OSError where it does not answer."""
        control = self._started()
        packet = json.dumps(request).encode("ascii")
        if given is None:
            control.send(packet)
        else:
            socket.send_fds(control, [packet], [given.fileno()])
        answer = control.recv(PACKET_NBYTES)
        if not answer:
            raise ConnectionError("the process that starts readers is gone")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def _started(self) -> socket.socket:
        if self._control is not None and self._owner == os.getpid():
            return self._control
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.set_inheritable(True)
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _PROGRAM, json.dumps(sys.path), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
                | _FRUGAL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.settimeout(_START_S)
        self._control, self._owner = ours, os.getpid()
        return ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


FORK_SERVER = ForkServer()
"""The one of this process."""
