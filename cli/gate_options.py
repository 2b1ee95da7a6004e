"""The options with which `export` has its bundle gated; their names in errors are `gate`'s own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from wan_trt.engine.errors import InputError

if TYPE_CHECKING:
    from wan_trt.calibration.gated_export import GateOptions

_OPTIONS = ("against", "inputs", "thresholds", "report", "allow_failed_gate")


def add_gate_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "the gate",
        "An FP8 bundle must be as good as a reference before it appears (see `wan-trt gate`).\n"
        "If it is not, it is removed and the command ends with exit code 5. This runs the model:\n"
        "at 14B on a CPU an expert takes some 60 GB of memory, and real samples take days. There\n"
        "export with --no-gate, and run `wan-trt gate` on the machine that is to serve.",
    )
    group.add_argument(
        "--gate-against",
        dest="against",
        metavar="REFERENCE",
        type=Path,
        help="a bundle of the same model at higher precision, or a result in a .safetensors "
        "(default: a bf16 bundle of this checkpoint and these LoRAs, made beside BUNDLE for the "
        "time being: its FP8 matrices again at bf16, some 25 GB for each expert of 14B, and the "
        "time to fold them)",
    )
    group.add_argument(
        "--gate-inputs",
        dest="inputs",
        metavar="DIR",
        type=Path,
        help="a folder for each sample, as `gate --inputs` takes it (default: a small made-up job)",
    )
    group.add_argument(
        "--thresholds",
        metavar="FILE",
        type=Path,
        help="a .toml that changes what is let pass (docs/fp8.md lists the defaults)",
    )
    group.add_argument(
        "--gate-report",
        dest="report",
        metavar="FILE",
        type=Path,
        help="write a page with plots and frames, .html, also of a bundle that does not pass",
    )
    group.add_argument(
        "--allow-failed-gate",
        action="store_true",
        help="keep a bundle that does not pass; its manifest says so",
    )
    group.add_argument(
        "--no-gate",
        action="store_true",
        help="leave the gate out; the manifest has no verdict then, and `inspect` says so",
    )


def gate_options(arguments: argparse.Namespace) -> GateOptions | None:
    """None for an export that is not gated. Raises InputError for options that nothing reads, and
    for a bundle, file of thresholds or place of the report that cannot be used."""
    gated = arguments.precision == "fp8" and not arguments.no_gate
    if arguments.precision != "fp8":
        _refuse(arguments, ("no_gate", *_OPTIONS), f"at precision {arguments.precision}")
    elif arguments.no_gate:
        _refuse(arguments, _OPTIONS, "with --no-gate")
    if not gated:
        return None
    from wan_trt.calibration.gate.thresholds import Thresholds
    from wan_trt.calibration.gated_export import GateOptions
    from wan_trt.engine.bundle import Bundle
    from wan_trt.media.partial_output import try_place

    if arguments.report is not None:
        try_place(arguments.report, "report")
    against = arguments.against
    return GateOptions(
        against=Bundle.open(against) if against and against.is_dir() else against,
        inputs=arguments.inputs,
        thresholds=Thresholds.read(arguments.thresholds),
        allow_failure=arguments.allow_failed_gate,
    )


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], where: str) -> None:
    """Raise InputError where one of the options was given."""
    for name in names:
        if getattr(arguments, name):
            raise InputError(
                f"given {where}",
                expected="nothing: only an FP8 export is gated, and not with --no-gate",
                action="leave it out",
                field=name,
            )
