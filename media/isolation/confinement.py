"""What a reader process takes from itself before it opens anything."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def confine(memory_nbytes: int, open_files: int) -> None:
    """For good: neither this process nor what it might start gets any of it back.

    RLIMIT_DATA instead of RLIMIT_AS: since Linux 4.7 it counts all that is allocated, and not the
    files that safetensors maps, which may be longer than the memory that reading them needs.
    """
    with contextlib.suppress(OSError):  # of all processes this is the one to kill
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for limit, most in (
        (resource.RLIMIT_DATA, memory_nbytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, open_files),
    ):
        resource.setrlimit(limit, (most, most))
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def allow_cpu(seconds: float) -> None:
    """From now on; who takes more gets SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def end_with(parent: int) -> None:
    """End this process when the one that forked it ends, be it killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def leave_network() -> bool:
    """Whether this process now has a network of its own, with nobody in it; not every system lets
    everybody do that."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return False
    alone = (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET)
    return any(int(libc.unshare(flags)) == 0 for flags in alone)
