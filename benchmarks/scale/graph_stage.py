"""All graphs of a model planned, traced and saved without a weight being read or made:
`python -m scale.graph_stage MODEL WIDTH RESULT`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx_ir

from scale.case import Width
from scale.process import peak_nbytes
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export import graphs
from wan_trt.export.checkpoint import Checkpoint, Dit
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.precision import Precision, stored_dtypes
from wan_trt.export.stored_graph import stored_graph
from wan_trt.export.synthetic.checkpoint import config, image_to_video_config
from wan_trt.export.synthetic.dit_shapes import dit_shapes, image_to_video_shapes
from wan_trt.export.synthetic.encoder_shapes import clip_file_shapes, t5_shapes, vae_shapes
from wan_trt.export.synthetic.shapes_only import ShapesOnly
from wan_trt.export.synthetic.sizes import ANIMATE_14B, TINY, CheckpointSizes


@dataclass(frozen=True)
class GraphStage:
    """Parameters of one DiT (the sum over the shapes of its tensors; the plan has made sure that
    graphs use them all) and of all graphs with one expert; seconds by graph, of planning, of both
    together; the most memory that the process held, and what it held before it began."""

    dit_parameters: int
    graph_parameters: int
    plan_s: float
    graphs_s: dict[str, float]
    total_s: float
    processor_s: float
    imported_nbytes: int
    peak_nbytes: int

    @staticmethod
    def read(path: Path) -> GraphStage:
        return GraphStage(**json.loads(path.read_text()))


def shapes_only(model: ModelName, sizes: CheckpointSizes) -> tuple[Checkpoint, ShapesOnly]:
    """A checkpoint of names and shapes, and the DiT in it."""
    animate = model is ModelName.ANIMATE
    dit = ShapesOnly(dit_shapes(sizes) if animate else image_to_video_shapes(sizes))
    settings = config(sizes) if animate else image_to_video_config(sizes)
    one = Dit(settings, dit)
    experts = {expert: one if animate else Dit(settings, dit) for expert in ExpertName}
    checkpoint = Checkpoint(
        model=model,
        path=Path(),
        layout="names and shapes",
        experts=experts,
        vae=ShapesOnly(vae_shapes(sizes)),
        t5=ShapesOnly(t5_shapes(sizes)),
        tokenizer=Path(),
        clip=ShapesOnly(clip_file_shapes(sizes)) if animate else None,
        boundary=None,
        files=(),
    )
    return checkpoint, dit


def measure(model: ModelName, sizes: CheckpointSizes, folder: Path) -> GraphStage:
    """Writes the graphs into `folder`."""
    imported, started = peak_nbytes(), time.perf_counter()
    checkpoint, dit = shapes_only(model, sizes)
    contents = graphs.plan(checkpoint)
    modules = contents.modules
    planned = time.perf_counter()
    seconds = {name: _write(module, folder / f"{name}.onnx") for name, module in modules.items()}
    return GraphStage(
        dit_parameters=dit.parameters,
        graph_parameters=sum(map(_parameters, modules.values())),
        plan_s=planned - started,
        graphs_s=seconds,
        total_s=time.perf_counter() - started,
        processor_s=time.process_time(),
        imported_nbytes=imported,
        peak_nbytes=peak_nbytes(),
    )


def _write(module: ExportModule, path: Path) -> float:
    """Seconds to trace and save one graph, as the export does it."""
    started = time.perf_counter()
    onnx_ir.save(stored_graph(module, stored_dtypes(module, Precision.BF16)), path)
    return time.perf_counter() - started


def _parameters(module: ExportModule) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def main() -> None:
    model, width, result = ModelName(sys.argv[1]), Width(sys.argv[2]), Path(sys.argv[3])
    with tempfile.TemporaryDirectory(prefix="graphs-") as folder:
        stage = measure(model, ANIMATE_14B if width is Width.FULL else TINY, Path(folder))
    result.write_text(json.dumps(asdict(stage)))


if __name__ == "__main__":
    main()
