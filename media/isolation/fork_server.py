"""A process that has all readers loaded and opens nothing: it forks one for each job.

Starting Python with them takes some 300 ms, a fork a few. It is a program of its own, started with
one socket, so that neither it nor what it forks has anything of the server: no memory, no sockets,
no job store. Requests come as packets of JSON, one answer each:

    {"ask": "fork", ...} and a socket   ->  {"pid": N}
    {"ask": "end", "pid": N, ...}       ->  {"status": exit code or -signal; null: not yet}

A process id that is not of its own readers has no status: it may be of one that an earlier fork
server had, and by now of anybody.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import time
from typing import Any

from PIL import Image

from wan_trt.media.isolation.confinement import confine, end_with, leave_network
from wan_trt.media.isolation.serving import serve
from wan_trt.media.limits import MediaLimits
from wan_trt.media.reader import LocalMedia

PACKET_NBYTES = 1 << 14
_KILL_S = 1.0
_LOOK_S = 0.002


def main(descriptor: int) -> None:
    """Serve until the other end of the socket is closed."""
    # Ctrl-C and SIGTERM often go to a whole group of processes; jobs may still be under way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    leave_network()
    Image.init()
    gc.freeze()
    readers: dict[int, int | None] = {}  # how they ended; None: they live
    with socket.socket(fileno=descriptor) as control:
        while True:
            packet, descriptors, _, _ = socket.recv_fds(control, PACKET_NBYTES, 1)
            if not packet:
                return
            request = json.loads(packet)
            _reap(readers)
            if request["ask"] == "fork":
                answer = _fork(request, descriptors[0], control)
                if "pid" in answer:
                    readers[answer["pid"]] = None
            else:
                answer = {"status": _end(request["pid"], request["grace_s"], readers)}
            with contextlib.suppress(BrokenPipeError):
                control.send(json.dumps(answer).encode("ascii"))


def _fork(request: dict[str, Any], descriptor: int, control: socket.socket) -> dict[str, Any]:
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError as error:
        os.close(descriptor)
        return {"error": error.strerror}
    if child:
        os.close(descriptor)
        return {"pid": child}
    status = 1
    try:
        end_with(parent)
        control.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries that die say so
        confine(request["memory_nbytes"], request["open_files"])
        media = LocalMedia(MediaLimits(**request["limits"]), ahead=False)
        with socket.socket(fileno=descriptor) as connection:
            serve(connection, media, request["cpu_s"])
        status = 0
    finally:
        os._exit(status)


def _end(reader: int, grace_s: float, readers: dict[int, int | None]) -> int | None:
    """How a reader ended, by itself within `grace_s` or killed; None where it sleeps in the kernel
    (a disk that does not answer), and for what is no reader."""
    if reader not in readers:
        return None
    _wait(reader, grace_s, readers)
    if readers[reader] is None:
        os.kill(reader, signal.SIGKILL)
        _wait(reader, _KILL_S, readers)
    status = readers[reader]
    if status is not None:
        del readers[reader]
    return status


def _wait(reader: int, seconds: float, readers: dict[int, int | None]) -> None:
    deadline = time.monotonic() + seconds
    while True:
        _reap(readers)
        if readers[reader] is not None or time.monotonic() >= deadline:
            return
        time.sleep(_LOOK_S)


def _reap(readers: dict[int, int | None]) -> None:
    """Note how readers ended; also those that nobody asks about leave no zombie."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            readers[found[0]] = os.waitstatus_to_exitcode(found[1])
