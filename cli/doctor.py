"""Tell what this machine, its software and a bundle can do together, and what to do next.

Asks for GPUs, driver, TensorRT, ONNX Runtime, the video library, memory and disk, each in a process
of its own, so that a broken driver is a line of the report. With BUNDLE also whether its files are
there, its gate, its plans, and what of it fits into memory. Needs no GPU.

Exit code 0 when something can run here, 2 for a bundle that cannot be used, 3 when nothing runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from wan_trt.cli.byte_progress import ByteProgress
from wan_trt.cli.sizes import parse_size
from wan_trt.engine.errors import InputError

SUMMARY = "tell what runs on this machine, and what to do next"
EXAMPLES = ("wan-trt doctor", "wan-trt doctor animate --verify")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", metavar="BUNDLE", nargs="?", type=Path, help="a bundle to look at too"
    )
    parser.add_argument(
        "--size",
        metavar="WxH",
        action="append",
        help="of videos: what of the bundle fits a GPU's memory; may be given several times "
        "(default: 832x480 and 1280x720)",
    )
    parser.add_argument(
        "--verify", action="store_true", help="hash every file of the bundle: slow, exact"
    )
    parser.add_argument("--json", action="store_true", help="facts and findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    if arguments.verify and arguments.bundle is None:
        raise InputError("no bundle to verify", action="name one", field="verify")
    from wan_trt.doctor.diagnosis import diagnose
    from wan_trt.doctor.gather import SIZES, gather
    from wan_trt.doctor.report import lines

    progress = ByteProgress(sys.stderr).show
    sizes = [parse_size(text) for text in arguments.size] if arguments.size else SIZES
    facts = gather(arguments.bundle, sizes, verify=arguments.verify, on_progress=progress)
    diagnosis = diagnose(facts)
    if arguments.json:
        document = {**asdict(diagnosis), "exit_code": diagnosis.exit_code}
        print(json.dumps(document, indent=1, ensure_ascii=False))
    else:
        for line in lines(diagnosis):
            print(line)
    return diagnosis.exit_code
