"""TensorRT: whether its libraries load. The only place beside its executors that imports it."""

from __future__ import annotations

import importlib

from wan_trt.doctor.facts import Software


def probe() -> Software:
    return Software(str(importlib.import_module("tensorrt").__version__))
