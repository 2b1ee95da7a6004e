"""What the CUDA provider takes for the graphs of a model, a program of its own:
`python -m provider.measure MODEL PRECISION full|tiny WIDTHxHEIGHTxFRAMES .. ` prints JSON.

onnxruntime must be that of onnxruntime-gpu, and the silent libraries on LD_LIBRARY_PATH.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace

import onnxruntime  # type: ignore[import-untyped]

from provider.calls import RecordedCalls, held
from provider.empty_tensors import empty_tensors
from provider.hollow_graphs import HollowGraphs, write
from wan_trt.engine.cuda.capture_gate import CaptureGate
from wan_trt.engine.models import DENOISER, ModelName
from wan_trt.engine.ort_cuda import OrtCudaExecutor
from wan_trt.export.precision import Precision
from wan_trt.export.synthetic.sizes import ANIMATE_14B, TINY
from wan_trt.plan.targets import VideoSize, plan_targets

STREAM = 0x7700
RUNS = 3


@dataclass(frozen=True)
class Row:
    """A graph at one size. `kept_nbytes` stay held after a run, `peak_nbytes` are the most that a
    warm run holds, `first_peak_nbytes` the first; `io_nbytes` are its inputs and outputs. Kernels
    and products are those of a warm run."""

    graph: str
    size: str
    weights_nbytes: int
    first_peak_nbytes: int
    peak_nbytes: int
    kept_nbytes: int
    io_nbytes: int
    kernels: int
    products: int


def rows(graphs: HollowGraphs, sizes: tuple[VideoSize, ...]) -> Iterator[Row]:
    """Each size in a session of its own: what a larger one leaves would serve a smaller one."""
    recorded = RecordedCalls()
    for size in sizes:
        for target in plan_targets(graphs.manifest, [size]):
            name, spec = target.graph, graphs.manifest.graphs[target.graph].spec
            gc.collect()
            recorded.take()
            executor = OrtCudaExecutor(
                graphs.graph(name),
                graphs.weights(name),
                spec,
                SimpleNamespace(ordinal=0, gate=CaptureGate()),  # type: ignore[arg-type]
                STREAM,
                keep_scratch=name == DENOISER,
            )
            weights = held(recorded.take())
            arrays, tensors = empty_tensors(spec, target.best)
            bindings = executor.bind(target.best, tensors)
            runs = []
            scratch = held([])
            for _ in range(RUNS):
                executor.launch(bindings, STREAM)
                calls = recorded.take()
                scratch = held(calls, scratch.nbytes)
                runs.append(scratch)
            yield Row(
                name,
                f"{size.width}x{size.height}",
                weights.nbytes,
                runs[0].peak_nbytes,
                scratch.peak_nbytes,
                scratch.nbytes,
                sum(t.nbytes for t in (*bindings.inputs.values(), *bindings.outputs.values())),
                sum(call.startswith("launch") for call in calls),
                sum(call.startswith("product") for call in calls),
            )
            executor.close()
            del bindings, arrays


def main(arguments: list[str]) -> None:
    model, precision, width, *sizes = arguments
    videos = tuple(VideoSize(*map(int, size.split("x"))) for size in sizes)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = ANIMATE_14B if width == "full" else TINY
        graphs = write(ModelName(model), checkpoint, Precision(precision), Path(folder))
        found = [asdict(row) for row in rows(graphs, videos)]
    json.dump({"onnxruntime": onnxruntime.__version__, "rows": found}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
