"""Runs `wan-trt` commands as a user would, shows them, and measures their memory."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from showcase.stages import peak_of

_ENTRY = "import sys; from wan_trt.cli.main import main; sys.exit(main())"


class Command:
    """A running `wan-trt` command; it is stopped when its block is left."""

    def __init__(self, arguments: Sequence[str], *, reads_output: bool = False) -> None:
        """Shows the command and starts it. `reads_output` keeps its stdout for `first_line`."""
        print(f"\n$ wan-trt {shlex.join(arguments)}", flush=True)
        self._name = arguments[0]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ENTRY, *arguments],
            stdout=subprocess.PIPE if reads_output else None,
            text=True,
        )
        self._peak_nbytes = 0

    def first_line(self) -> str:
        """The first line of its output, when it is there. Exits if the command ends first."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().rstrip("\n")
        if not line:
            self.wait()
            raise SystemExit(f"wan-trt {self._name} ended without a word")
        print(line, flush=True)
        return line

    def wait(self) -> int:
        """Let it end and return the most memory it held. Exits if it failed."""
        if self._process.returncode is None:
            _, status, usage = os.wait4(self._process.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)
            self._peak_nbytes = peak_of(usage)
        if self._process.returncode:
            print(f"wan-trt {self._name} ended with {self._process.returncode}", file=sys.stderr)
            raise SystemExit(1)
        return self._peak_nbytes

    def stop(self) -> int:
        """Ask it to end, then as `wait`."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def peak_nbytes(self) -> int:
        """Most memory it has held so far; 0 where the system does not tell."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        except OSError:
            return 0
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
