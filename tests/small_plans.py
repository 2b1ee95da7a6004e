"""Plans of small graphs, made in this process by what `wan-trt build` makes plans with: by the
genuine TensorRT, or by the made-up one in its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wan_trt.engine.executor import GraphSpec
from wan_trt.engine.plan_entry import SymbolRange
from wan_trt.plan.jobs import PLAN, BuildOptions, EngineJob
from wan_trt.plan.network_graph import graph_for_tensorrt, parser_input
from wan_trt.plan.process import Tell
from wan_trt.plan.targets import Target


def small_job(
    graph: Path, weights: Path, spec: GraphSpec, sizes: Mapping[str, int], folder: Path
) -> EngineJob:
    """The build of `graph`, whose one parameter is in the file of its name in `weights`."""
    symbols = {name: SymbolRange.fixed(value) for name, value in sizes.items()}
    static = graph_for_tensorrt(graph, spec, Target(graph.stem, "shared", symbols))
    (folder / "model.onnx").write_bytes(parser_input(static))
    parameters = [tensor.name for tensor in static.model.graph.initializer if tensor.external_data]
    return EngineJob(
        model=str(folder / "model.onnx"),
        weights={name: str(weights / f"{graph.stem}.bin") for name in parameters},
        folder=str(folder),
        ranges={},
        outputs={tensor.name: tensor.shape(sizes) for tensor in spec.outputs},
        timing_cache=None,
        options=BuildOptions(),
    )


def small_plan(
    graph: Path,
    weights: Path,
    spec: GraphSpec,
    sizes: Mapping[str, int],
    folder: Path,
    tell: Tell = lambda *_: None,
) -> Path:
    """The file of the plan."""
    from wan_trt.plan.tensorrt.engine_process import make

    make(small_job(graph, weights, spec, sizes, folder), tell)
    return folder / PLAN
