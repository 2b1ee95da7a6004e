"""The command `wan-trt`: runs the command that was asked for, turns errors into exit codes.

Exit codes: 0 done, 2 usage or bad input, 3 resource exhausted (retry elsewhere), 4 interrupted,
5 a bundle that did not pass its gate, 1 a bug of ours.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence

from wan_trt.cli.command_parser import make_parser
from wan_trt.engine.errors import CancelledError, InputError, ResourceError, WanTrtError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; prints errors as one line on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    _end_cleanly_when_terminated()
    try:
        return _run(make_parser(words).parse_args(words))
    except KeyboardInterrupt:
        print("wan-trt: interrupted; no output is half-written under its name", file=sys.stderr)
        return CancelledError.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # what nobody nearer to it has translated
        return _report(error)


def _run(arguments: argparse.Namespace) -> int:
    """The command's exit code. Its errors are told in the words of the command line."""
    try:
        code: int = arguments.run(arguments)
    except WanTrtError as error:
        told = error.message(arguments.parser.spelled(error.field))
        print(f"wan-trt: error: {told}", file=sys.stderr)
        return error.exit_code
    return code


def _end_cleanly_when_terminated() -> None:
    """SIGTERM ends a command as Ctrl-C does: what is half-written is removed. `serve` has its own
    way to stop. Only a main thread may set handlers, and only a fresh process has none."""
    fresh = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if fresh and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _report(error: OSError) -> int:
    from wan_trt.media.partial_output import is_exhausted

    what = " ".join((error.strerror or str(error) or type(error).__name__).split())
    where = f"{error.filename}: " if error.filename else ""
    print(f"wan-trt: error: {where}{what}", file=sys.stderr)
    return (ResourceError if is_exhausted(error) else InputError).exit_code


if __name__ == "__main__":
    sys.exit(main())
