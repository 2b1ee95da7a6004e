"""The parser of the command line: one sub-parser a command, made from the command's module."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from textwrap import indent
from typing import Any, NoReturn

# One module a command; it offers SUMMARY, add_arguments(parser) and run(arguments) -> exit code.
# Its docstring and EXAMPLES (command lines, as one types them) make its help.
COMMANDS = (
    "export",
    "calibrate",
    "fold",
    "inspect",
    "doctor",
    "gate",
    "build",
    "preprocess",
    "generate",
    "serve",
    "token",
    "health",
    "submit",
    "watch",
    "list",
    "cancel",
    "fetch",
    "bundles",
)

# Of commands that a module of that name would hide something of Python's own.
_MODULES = {"list": "list_jobs"}

_DESCRIPTION = """\
Deploys Wan2.2 Animate and image-to-video: turn a checkpoint into a bundle once (export), then make
videos from it here (generate) or through a server (serve, token, health, submit, watch, list,
cancel, fetch, bundles). `doctor` tells what runs on this machine. `fold` puts LoRAs into a plain
safetensors file, for other runtimes; `calibrate` measures what FP8 needs, and `gate` tells whether
a bundle is as good as another. `build` makes TensorRT plans of a bundle on a GPU host, or tells
what that would take."""


class CommandParser(argparse.ArgumentParser):
    """Says what is wrong in one line; the whole usage is for --help.

    Options must be written out: an abbreviation that is unique today is not when one more option
    has come. The `dest` of an option is the name that errors have for it, their `field`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def parse_known_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Nothing may stay unknown: the command itself refuses it, and points to its own help."""
        arguments, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return arguments, unknown

    def spelled(self, field: str | None) -> str | None:
        """How the user spells the field of an error: `segment_frames` is --segment-frames. What is
        no argument of this command keeps its name."""
        for action in self._actions:
            if action.dest == field:
                return action.option_strings[0] if action.option_strings else str(action.metavar)
        return field

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"wan-trt: error: {' '.join(message.split())}; see {self.prog} --help\n")


def make_parser(words: Sequence[str]) -> CommandParser:
    """The parser for the command line `words`: of the commands' modules only those are imported
    whose options it takes or whose summaries it shows."""
    parser = CommandParser(prog="wan-trt", description=_DESCRIPTION)
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    asked = next((word for word in words if word in COMMANDS), None)
    overview = asked is None and not {"-h", "--help"}.isdisjoint(words)
    for name in COMMANDS:
        if name == asked or overview:
            module = importlib.import_module(f"wan_trt.cli.{_MODULES.get(name, name)}")
            command = commands.add_parser(
                name,
                help=module.SUMMARY,
                description=module.__doc__,
                epilog=_epilog(getattr(module, "EXAMPLES", ())),
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.add_arguments(command)
            command.set_defaults(run=module.run, parser=command)
        else:
            commands.add_parser(name)
    return parser


def _epilog(examples: Sequence[str]) -> str | None:
    if not examples:
        return None
    return "\n\n".join(["examples:", *(indent(example, "  ") for example in examples)])


class _ShowVersion(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"wan-trt {version('wan-trt')}")
        except PackageNotFoundError:
            print("wan-trt, version unknown: a source tree that is not installed")
        parser.exit()
