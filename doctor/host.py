"""The machine itself: cores, memory, room on a disk."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

from wan_trt.doctor.facts import Disk, Host

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def host() -> Host:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = available_nbytes(_text(_MEMINFO)) or total
    limit = left_of_limit(_text(_CGROUP / "memory.max"), _text(_CGROUP / "memory.current"))
    return Host(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        cores=len(os.sched_getaffinity(0)),
        memory_nbytes=total,
        available_nbytes=available if limit is None else min(available, limit),
    )


def disk(folder: Path) -> Disk | None:
    """The room where `folder` is, or its nearest parent that exists; None where none is told."""
    folder = folder.absolute()
    for place in (folder, *folder.parents):
        try:
            return Disk(str(place), shutil.disk_usage(place).free)
        except OSError:
            continue
    return None


def available_nbytes(meminfo: str | None) -> int | None:
    """MemAvailable of the text of /proc/meminfo."""
    for line in (meminfo or "").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def left_of_limit(limit: str | None, used: str | None) -> int | None:
    """What a control group (version 2) may still take, None without a limit ("max")."""
    if limit is None or used is None or not limit.strip().isdigit():
        return None
    return max(0, int(limit) - int(used))


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
