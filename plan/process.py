"""A job in a process of its own: what it took of memory, on host and GPU, is back when it ends.

    parent: run_job(module, job, Result, ..)        child: serve(Job, work)
        job as JSON on stdin  -------------------------->  work(job, tell)
        <---- {"told": ["phase", 3, 10]} ----------------  tell("phase", 3, 10)
        <---- {"result": {..}} or {"error": {..}} -------  returns or raises

Answers come through a pipe of their own: native libraries print to stdout and stderr as they like.
What they print is shown when the process dies without an answer.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, TypeVar

from wan_trt.engine import errors
from wan_trt.engine.errors import ExecutionError, ResourceError, WanTrtError
from wan_trt.engine.strict_json import parse

Tell = Callable[[str, int, int], None]
"""(phase, steps done, steps in all)."""

Job = TypeVar("Job")
Result = TypeVar("Result")

_LAST_LINES = 5
_FIELDS = ("given", "expected", "action", "field")


def run_job(module: str, job: Any, result: type[Result], log: Path, on_told: Tell) -> Result:
    """Run `module` in a new process on `job`. What it prints goes to the file `log`.

    Raises the WanTrtError that the job raised, ResourceError when the system killed it, and
    ExecutionError when it died otherwise.
    """
    reading, writing = os.pipe()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            # -P: what lies in the current folder is not imported.
            [sys.executable, "-P", "-m", module, str(writing)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            text=True,
        )
    os.close(writing)
    answer: dict[str, Any] = {}
    try:
        with os.fdopen(reading, encoding="utf-8") as lines:
            _send(process, job)
            for line in lines:
                answer = json.loads(line)
                if "told" in answer:
                    on_told(*answer["told"])
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if "error" in answer:
        raise _error(answer["error"])
    if "result" in answer:
        done: Result = parse(result, answer["result"], module)
        return done
    raise _death(module, process.returncode, log)


def serve(kind: type[Job], work: Callable[[Job, Tell], Any]) -> int:
    """The child's side: a module calls it when it is run. Returns the exit code."""
    with os.fdopen(int(sys.argv[1]), "w", encoding="utf-8", buffering=1) as answers:
        try:
            job: Job = parse(kind, json.load(sys.stdin), "job")
            result = work(job, lambda *told: _write(answers, told=list(told)))
        except WanTrtError as error:
            fields = {name: getattr(error, name) for name in _FIELDS}
            _write(answers, error={"kind": type(error).__name__, **fields})
            return error.exit_code
        except MemoryError:
            _write(answers, error={"kind": "ResourceError", "given": "out of memory"})
            return ResourceError.exit_code
        _write(answers, result=asdict(result))
    return 0


def _send(process: subprocess.Popen[str], job: Any) -> None:
    assert process.stdin is not None, "it was asked for"
    try:
        with process.stdin:
            json.dump(asdict(job), process.stdin)
    except BrokenPipeError:  # it died already: why is told below
        pass


def _write(answers: IO[str], **message: Any) -> None:
    answers.write(json.dumps(message) + "\n")


def _error(told: dict[str, Any]) -> WanTrtError:
    kind = getattr(errors, told.pop("kind"), ExecutionError)
    error: WanTrtError = kind(told.pop("given"), **told)
    return error


def _death(module: str, code: int, log: Path) -> WanTrtError:
    last = " / ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
    if code == -signal.SIGKILL:
        return ResourceError(
            f"{module} was killed",
            expected="enough memory",
            action="see `wan-trt build --dry-run` for what a build needs, or use a larger machine",
        )
    return ExecutionError(f"{module} ended with {code} ({last})", action="report this with its log")
