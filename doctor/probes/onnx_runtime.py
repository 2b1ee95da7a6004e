"""ONNX Runtime: whether it loads, and which of its execution providers do."""

from __future__ import annotations

from wan_trt.doctor.facts import Part, Software
from wan_trt.doctor.probes.installed import version_of
from wan_trt.engine.errors import ResourceError


def probe() -> Software:
    # onnxruntime-gpu is another distribution with the same module.
    import onnxruntime  # type: ignore[import-untyped]

    from wan_trt.engine.ort_cuda_libraries import CUDA, linking_fault, load_libraries

    version = version_of(Part.ONNX_RUNTIME) or str(onnxruntime.__version__)
    providers = tuple(onnxruntime.get_available_providers())
    if CUDA not in providers:
        return Software(version, offers=providers)
    try:
        load_libraries()
        fault = linking_fault()
    except ResourceError as error:
        fault = error.given
    if fault is None:
        return Software(version, offers=providers)
    loading = tuple(provider for provider in providers if provider != CUDA)
    return Software(version, offers=loading, withheld=f"{CUDA}: {fault}")
