"""GPUs as NVIDIA's management library (NVML) tells of them: no CUDA context, no memory taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from wan_trt.doctor.facts import Gpu, Gpus


def probe() -> Gpus:
    try:
        import pynvml
    except ModuleNotFoundError:
        return Gpus(problem="nvidia-ml-py is not installed, so no GPU can be asked (wan-trt[cuda])")
    return read(pynvml)


def read(nvml: Any) -> Gpus:
    """`nvml` is the module pynvml."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Gpus(problem=f"no NVIDIA driver answers ({error})")
    try:
        version = _told(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2)
        gpus = [
            gpu
            for index in range(nvml.nvmlDeviceGetCount())
            for gpu in _device(nvml, nvml.nvmlDeviceGetHandleByIndex(index))
        ]
        return Gpus(
            driver=_told(nvml, nvml.nvmlSystemGetDriverVersion),
            cuda=None if version is None else (version // 1000, version % 1000 // 10),
            gpus=tuple(gpus),
            problem=None if gpus else "the driver shows no GPU",
        )
    except nvml.NVMLError as error:
        return Gpus(
            driver=_told(nvml, nvml.nvmlSystemGetDriverVersion),
            problem=f"the driver does not show its GPUs ({error})",
        )
    finally:
        _told(nvml, nvml.nvmlShutdown)


def _device(nvml: Any, handle: Any) -> Iterator[Gpu]:
    """The GPU, or where it is cut into MIG slices those: CUDA sees no more of it."""
    mode = _told(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mode is None or not mode[0]:
        yield _gpu(nvml, handle, handle, mig=None if mode is None else False)
        return
    for index in range(_told(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part = _told(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if part is not None:
            yield _gpu(nvml, part, handle, mig=True)


def _gpu(nvml: Any, handle: Any, whole: Any, *, mig: bool | None) -> Gpu:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    capability = _told(nvml, nvml.nvmlDeviceGetCudaComputeCapability, whole)
    ecc = _told(nvml, nvml.nvmlDeviceGetEccMode, whole)
    return Gpu(
        name=nvml.nvmlDeviceGetName(handle),
        uuid=nvml.nvmlDeviceGetUUID(handle),
        compute_capability=None if capability is None else tuple(capability),
        total_nbytes=memory.total,
        free_nbytes=memory.free,
        ecc=None if ecc is None else bool(ecc[0]),
        mig=mig,
    )


def _told(nvml: Any, question: Callable[..., Any], *of: Any) -> Any:
    """The answer, None where this GPU or driver has none."""
    try:
        return question(*of)
    except nvml.NVMLError:
        return None
