"""The graphs of a model without its weights: parameters are files of the right length that hold
nothing, so that 17 GB of them take no room."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir

from scale.graph_stage import shapes_only
from wan_trt.engine.manifest import SHARED, Manifest
from wan_trt.engine.models import ModelName
from wan_trt.export import graphs
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.options import ExportOptions
from wan_trt.export.outline import outline
from wan_trt.export.precision import Precision, stored_dtypes
from wan_trt.export.quantize.policy import Policy, candidates
from wan_trt.export.quantize.rounding import NOTHING, Rounding
from wan_trt.export.stored_graph import stored_graph
from wan_trt.export.synthetic.sizes import CheckpointSizes


@dataclass(frozen=True)
class HollowGraphs:
    """Graphs in a folder as an export of `precision` makes them, FP8 by the policy `wide`; of an
    expert as if it were the only one."""

    folder: Path
    manifest: Manifest

    def graph(self, name: str) -> Path:
        return self.folder / f"{name}.onnx"

    def weights(self, name: str) -> Path:
        return self.folder / name


def write(
    model: ModelName, sizes: CheckpointSizes, precision: Precision, folder: Path
) -> HollowGraphs:
    checkpoint, _ = shapes_only(model, sizes)
    contents = graphs.plan(checkpoint)
    choices, layers = candidates(contents.expert), contents.geometry.layers
    rounded = Policy.read("wide").apply(choices, layers).rounded
    for name, module in contents.modules.items():
        chosen = rounded.get(name, NOTHING) if precision is Precision.FP8 else NOTHING
        _write(module, precision, chosen, folder / f"{name}.onnx")
    found = outline(checkpoint, contents, ExportOptions())
    entries = {name: replace(entry, weights={SHARED: {}}) for name, entry in found.graphs.items()}
    manifest = replace(found, precision=precision.value, graphs=entries)
    return HollowGraphs(folder, manifest)


def _write(module: ExportModule, precision: Precision, rounded: Rounding, path: Path) -> None:
    model = stored_graph(module, stored_dtypes(module, precision, rounded), rounded)
    onnx_ir.save(model, path)
    weights = path.with_suffix("")
    weights.mkdir()
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, onnx_ir.ExternalTensor) and tensor.length is not None:
            with (weights / str(tensor.location)).open("wb") as file:
                file.truncate(tensor.length)
