"""ONNX Runtime: whether it loads, and which execution providers it was built with."""

from __future__ import annotations

from wan_trt.doctor.facts import Part, Software
from wan_trt.doctor.probes.installed import version_of


def probe() -> Software:
    # onnxruntime-gpu is another distribution with the same module.
    import onnxruntime  # type: ignore[import-untyped]

    version = version_of(Part.ONNX_RUNTIME) or str(onnxruntime.__version__)
    return Software(version, offers=tuple(onnxruntime.get_available_providers()))
