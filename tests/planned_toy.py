"""The toy bundle with plans that the made-up TensorRT runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import fake_tensorrt

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import FileEntry
from wan_trt.engine.plan_entry import Gpu, PlanEntry, SymbolRange, plan_name


def with_plan(
    bundle: Bundle,
    graph: str,
    sizes: Mapping[str, int],
    weight_set: str = "shared",
    engine_nbytes: int = 0,
) -> Bundle:
    """The bundle with a plan more, for the GPU of `fake_cuda`, where its engine takes so much
    memory."""
    plan = fake_tensorrt.plan_bytes(
        bundle.graph_path(graph),
        bundle.tensor_files(graph, weight_set),
        bundle.weights_folder,
        engine_nbytes,
    )
    entry = replace(
        plan_entry(graph, sizes, weight_set),
        sha256=hashlib.sha256(plan).hexdigest(),
        nbytes=len(plan),
    )
    file = entry.file
    (bundle.path / file).parent.mkdir(parents=True, exist_ok=True)
    (bundle.path / file).write_bytes(plan)
    manifest = replace(
        bundle.manifest,
        plans=(*bundle.manifest.plans, entry),
        files={**bundle.manifest.files, file: FileEntry(entry.sha256, entry.nbytes)},
    )
    (bundle.path / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(bundle.path)


def plan_entry(graph: str, sizes: Mapping[str, int], weight_set: str = "shared") -> PlanEntry:
    """A plan for the GPU of `fake_cuda` and the made-up TensorRT, before it has a file."""
    symbols = {name: SymbolRange.fixed(value) for name, value in sizes.items()}
    return PlanEntry(
        graph=graph,
        weight_set=weight_set,
        symbols=symbols,
        file=f"plans/fake-h100/{plan_name(graph, weight_set, symbols)}.plan",
        model=f"graphs/{graph}.onnx",
        sha256="",
        nbytes=0,
        gpu=Gpu("Fake H100", "9.0", "none"),
        tensorrt=fake_tensorrt.__version__,
        scratch_nbytes=fake_tensorrt.SCRATCH_NBYTES,
    )
