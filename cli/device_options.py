"""Where a command runs its graphs: --device and --threads."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from wan_trt.engine.errors import InputError

if TYPE_CHECKING:
    from wan_trt.engine import Bundle, Engine
    from wan_trt.engine.dispatch import SchedulingOptions

DEVICES = ("cpu", "cuda")
DEVICE_HELP = (
    "cuda: an NVIDIA GPU, by the bundle's TensorRT plans or ONNX Runtime's CUDA provider; "
    "no GPU has run it yet"
)
THREADS_HELP = "CPU threads to use (default: one a core); not with --device cuda"


def add_device_arguments(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--device", choices=DEVICES, default=DEVICES[0], help=f"{DEVICE_HELP} (default: cpu)"
    )
    parser.add_argument("--threads", metavar="N", type=int, help=THREADS_HELP)


def open_engine(
    bundle: Bundle,
    device: str,
    threads: int | None,
    scheduling: SchedulingOptions | None = None,
) -> Engine:
    """The engine on the device that was asked for. Raises ResourceError for what is missing."""
    from wan_trt.engine import Engine

    if device == "cpu":
        return Engine(bundle, threads, scheduling=scheduling)
    if threads is not None:
        raise InputError(
            f"{threads} with --device {device}",
            expected="it with the CPU alone",
            action="leave it out",
            field="threads",
        )
    from wan_trt.engine.cuda.opening import open_cuda

    bundle.require_all_graphs()
    return Engine(bundle, backend=open_cuda(bundle), scheduling=scheduling)
