"""The command `wan-trt`: finds the command's module, runs it, turns errors into exit codes.

Exit codes: 0 done, 2 usage or bad input, 3 resource exhausted (retry elsewhere), 4 interrupted,
1 a bug of ours.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from wan_trt.engine.errors import CancelledError, InputError, ResourceError, WanTrtError

# One module a command; it offers SUMMARY, add_arguments(parser) and run(arguments) -> exit code.
COMMANDS = (
    "export",
    "fold",
    "inspect",
    "preprocess",
    "generate",
    "serve",
    "submit",
    "watch",
    "cancel",
    "fetch",
)

_DESCRIPTION = """\
Deploys Wan2.2 Animate and image-to-video: turn a checkpoint into a bundle once (export), then make
videos from it here (generate) or through a server (serve, submit, watch, cancel, fetch). `fold`
puts LoRAs into a plain safetensors file, for other runtimes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code; prints errors as one line on stderr."""
    words = list(sys.argv[1:] if argv is None else argv)
    _end_cleanly_when_terminated()
    try:
        arguments = _parser(words).parse_args(words)
        code: int = arguments.run(arguments)
    except WanTrtError as error:
        print(f"wan-trt: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("wan-trt: interrupted; nothing half-written is left behind", file=sys.stderr)
        return CancelledError.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # what nobody nearer to it has translated
        return _report(error)
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


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the whole usage is for --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"wan-trt: error: {' '.join(message.split())}; see {self.prog} --help\n")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """All commands' names; only the asked command's module is imported for its options."""
    parser = _Parser(prog="wan-trt", description=_DESCRIPTION)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in words if word in COMMANDS), None)
    for name in COMMANDS:
        if name == asked or asked is None:
            module = importlib.import_module(f"wan_trt.cli.{name}")
            command = commands.add_parser(
                name,
                help=module.SUMMARY,
                description=module.__doc__,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.add_arguments(command)
            command.set_defaults(run=module.run)
        else:
            commands.add_parser(name)
    return parser
