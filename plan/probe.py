"""A process that finds out what plans would be built with: GPU, driver, TensorRT."""

from __future__ import annotations

import sys

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import InputError
from wan_trt.plan.jobs import ProbeJob, Toolchain
from wan_trt.plan.process import Tell, serve
from wan_trt.plan.version import require_version


def probe(job: ProbeJob, tell: Tell) -> Toolchain:
    """Raises InputError without TensorRT 11.4, ResourceError without a GPU."""
    del job
    tell("looking for a GPU and TensorRT", 0, 1)
    try:
        from wan_trt.plan.tensorrt.toolchain import describe, tensorrt_version
    except ImportError as error:
        raise InputError(
            f"TensorRT cannot be used here ({error})",
            expected="a GPU host with TensorRT 11.4 or later",
            action="install wan-trt[trt] there, or look with --dry-run",
        ) from None
    version = tensorrt_version()
    require_version(version)
    return Toolchain(describe(Device()), version)


if __name__ == "__main__":
    sys.exit(serve(ProbeJob, probe))
