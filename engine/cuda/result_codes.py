"""What a call of the CUDA driver says of itself, as a value or a typed error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wan_trt.engine.errors import ExecutionError, ResourceError, WanTrtError

_UNAVAILABLE = (
    "CUDA_ERROR_NO_DEVICE",
    "CUDA_ERROR_INVALID_DEVICE",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_NOT_INITIALIZED",
    "CUDA_ERROR_STUB_LIBRARY",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
    "CUDA_ERROR_SYSTEM_NOT_READY",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
    "CUDA_ERROR_NO_BINARY_FOR_GPU",
)
# After these every further call of the process fails.
_STICKY = (
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
)


def translate(code: str, call: str) -> WanTrtError:
    """The typed error for a result code such as CUDA_ERROR_OUT_OF_MEMORY, met by a driver call."""
    given = f"{call}: {code}"
    if code == "CUDA_ERROR_OUT_OF_MEMORY":
        return ResourceError(
            f"no GPU memory ({given})",
            action="use a smaller size, or end what else runs on this GPU",
        )
    if code in _UNAVAILABLE:
        return ResourceError(
            f"no usable GPU ({given})",
            action="look at nvidia-smi: the driver must be as new as CUDA 13 needs",
        )
    if code in _STICKY:
        return ExecutionError(
            f"the GPU stopped ({given})", action="start this process again, and report the request"
        )
    return ExecutionError(given, action="report this with the request")


def checked(cuda: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """The one value of a call of the bindings `cuda`, a tuple of several, or None. Raises what
    `translate` says."""
    status, *values = function(*arguments)
    if status != cuda.CUresult.CUDA_SUCCESS:
        raise translate(getattr(status, "name", str(status)), function.__name__)
    return values[0] if len(values) == 1 else tuple(values) or None
