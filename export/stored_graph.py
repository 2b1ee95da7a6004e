"""A module's graph as a bundle has it: what is rounded, and parameters that lie in files."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir

from wan_trt.export.graph import trace
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.parameters import refer
from wan_trt.export.quantize import nodes
from wan_trt.export.quantize.rounding import NOTHING, Rounding


def stored_graph(
    module: ExportModule, dtypes: Mapping[str, str], rounded: Rounding = NOTHING
) -> onnx_ir.Model:
    """`dtypes` says what each parameter is stored as, the scales of what is `rounded` included
    (`stored_dtypes`)."""
    model = trace(module)
    nodes.insert(model, rounded)
    refer(model, dtypes)
    return model
