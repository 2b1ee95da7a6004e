"""A process that runs a bundle's graph on ONNX Runtime's CPU: what plans are held against."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors.numpy import load_file, save_file

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import run
from wan_trt.engine.ort import OrtExecutor
from wan_trt.plan.jobs import Done, ReferenceJob
from wan_trt.plan.process import Tell, serve


def compute(job: ReferenceJob, tell: Tell) -> Done:
    """Raises BundleError, ResourceError or ExecutionError."""
    tell("reference on ONNX Runtime", 0, 1)
    bundle = Bundle.open(job.bundle)
    files = bundle.tensor_files(job.graph, job.weight_set)
    with _weights(bundle.weights_folder, files, job.exchanged) as (folder, placed):
        executor = OrtExecutor(
            bundle.graph_path(job.graph),
            folder,
            bundle.manifest.graphs[job.graph].spec,
            job.threads,
            placed,
        )
        save_file(run(executor, job.sizes, **load_file(job.inputs)), job.outputs)
        executor.close()
    tell("reference on ONNX Runtime", 1, 1)
    return Done()


@contextmanager
def _weights(
    folder: Path, files: Mapping[str, str], exchanged: Mapping[str, str]
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """The folder of weights and the file of each parameter in it. ONNX Runtime reads one folder, so
    with some exchanged there is one that has the others' files by hard links."""
    if not exchanged:
        yield folder, files
        return
    with tempfile.TemporaryDirectory(dir=Path(next(iter(exchanged.values()))).parent) as name:
        placed = dict(files)
        for parameter, file in exchanged.items():
            placed[parameter] = f"exchanged-{len(placed)}-{Path(file).name}"
            _link(Path(file), Path(name) / placed[parameter])
        for file in {file for parameter, file in files.items() if parameter not in exchanged}:
            _link(folder / file, Path(name) / file)
        yield Path(name), placed


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


if __name__ == "__main__":
    sys.exit(serve(ReferenceJob, compute))
