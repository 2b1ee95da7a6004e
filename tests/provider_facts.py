"""What the genuine CUDA provider of onnxruntime-gpu does with bundles, over the libraries of
`provider.silent_libraries`: `python provider_facts.py BUNDLE ..` prints it as JSON.

A program of its own: onnxruntime-gpu and onnxruntime are the same module, and the libraries must be
on LD_LIBRARY_PATH when a process starts. CUDA_CALLS names the file that they write to.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from made_up_gpu import MadeUpGpu
from provider.calls import RecordedCalls, held
from provider.empty_tensors import empty_tensors

from wan_trt.engine import (
    AnimateRequest,
    ArrayFrames,
    Bundle,
    CollectedFrames,
    Engine,
    Event,
    ImageToVideoRequest,
    Request,
    Sampling,
)
from wan_trt.engine.cuda.backend import CudaBackend
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import WanTrtError
from wan_trt.engine.executor import Bindings, Executor
from wan_trt.engine.models import DENOISER, ModelName
from wan_trt.engine.ort_cuda import OrtCudaExecutor, load_on_gpu, placed_nodes, try_provider
from wan_trt.plan.targets import VideoSize, plan_targets

STREAM = 0x7700
RUNS = 3
SIZE = VideoSize(96, 64, 5)


def of_graphs(bundle: Bundle, device: Device, recorded: RecordedCalls) -> Iterator[tuple[str, Any]]:
    """(graph, what became of it): each loaded, and run at one size."""
    for name, entry in bundle.manifest.graphs.items():
        weight_set = sorted(entry.weights)[0]
        files = bundle.tensor_files(name, weight_set)
        gc.collect()
        recorded.take()
        executor = OrtCudaExecutor(
            bundle.graph_path(name),
            bundle.weights_folder,
            entry.spec,
            device,
            STREAM,
            files,
            keep_scratch=name == DENOISER,
        )
        loading = recorded.take()
        sizes = plan_targets(bundle.manifest, [SIZE], [name])[0].best
        arrays, tensors = empty_tensors(entry.spec, sizes)
        bindings = executor.bind(sizes, tensors)
        runs = []
        for _ in range(RUNS):
            executor.launch(bindings, STREAM)
            runs.append(recorded.take())
        yield (
            name,
            {
                "stored_nbytes": sum(
                    (bundle.weights_folder / file).stat().st_size for file in set(files.values())
                ),
                "held_nbytes": held(loading).nbytes,
                "load_waits": [call for call in loading if call.startswith("wait")],
                "operators": Counter(
                    f"{node.operator} {node.provider}" for node in placed_nodes(executor._session)
                ),
                "runs": runs,
            },
        )
        with device.gate.capture():
            closing = threading.Thread(target=executor.close)
            closing.start()
            closing.join(timeout=0.02)
            assert closing.is_alive(), "a session is closed beside a capture"
        closing.join()
        del bindings, arrays


class Cleared:
    """An executor whose outputs are zeros: kernels that do nothing leave what was there before,
    which may be no number."""

    def __init__(self, executor: OrtCudaExecutor, device: Device) -> None:
        self._executor, self._device = executor, device
        self.spec = executor.spec

    def bind(self, sizes: Any, tensors: Any = None) -> Bindings:
        return self._executor.bind(sizes, tensors)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        assert stream is not None
        for output in bindings.outputs.values():
            self._device.clear(output.address, output.nbytes, stream)
        self._executor.launch(bindings, stream)

    def close(self) -> None:
        self._executor.close()


def of_a_job(bundle: Bundle, gpu: MadeUpGpu, recorded: RecordedCalls) -> Any:
    """A whole job on the backend of a GPU: the provider's calls of each step and of all."""
    steps: list[list[str]] = []
    every: list[str] = []

    def watch(event: Event) -> None:
        calls = recorded.take()
        every.extend(calls)
        if event.stage == "denoise":
            steps.append(calls)

    def load(bundle: Bundle, graph: str, weight_set: str, backend: CudaBackend) -> Executor:
        return Cleared(load_on_gpu(bundle, graph, weight_set, backend), backend.device)

    backend = gpu.backend(load)
    streams = sorted({space.stream for space in backend.spaces.values()})
    found = CollectedFrames()
    recorded.take()
    with Engine(bundle, backend=backend) as engine:
        engine.generate(request_for(bundle), found, watch)
    gpu.require_all_given_back()
    return {
        "frames": list(found.frames.shape),
        "steps": steps,
        "calls": every + recorded.take(),
        "streams": streams,
    }


def without_room(bundle: Bundle, device: Device) -> dict[str, str]:
    """How loading and running a denoiser end where the GPU has no room for it, and how the run
    after that does."""
    entry = bundle.manifest.graphs[DENOISER]
    weight_set = sorted(entry.weights)[0]
    sizes = plan_targets(bundle.manifest, [SIZE], [DENOISER])[0].best
    arrays, tensors = empty_tensors(entry.spec, sizes)

    def load() -> OrtCudaExecutor:
        files = bundle.tensor_files(DENOISER, weight_set)
        graph, weights = bundle.graph_path(DENOISER), bundle.weights_folder
        return OrtCudaExecutor(graph, weights, entry.spec, device, STREAM, files)

    executor = load()
    ends = {}
    os.environ["CUDA_BLOCK_AT_MOST"] = "1000"
    ends["loading"] = _ending(load)
    ends["running"] = _ending(lambda: executor.launch(executor.bind(sizes, tensors), STREAM))
    del os.environ["CUDA_BLOCK_AT_MOST"]
    ends["again"] = _ending(lambda: executor.launch(executor.bind(sizes, tensors), STREAM))
    executor.close()
    del arrays
    return ends


def _ending(work: Callable[[], object]) -> str:
    try:
        work()
    except WanTrtError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def request_for(bundle: Bundle) -> Request:
    pixels = np.random.default_rng(0).integers
    sampling = Sampling(steps=8, guidance=(2.0, 1.0))
    if bundle.manifest.model is ModelName.ANIMATE:
        return AnimateRequest(
            reference=pixels(0, 256, (40, 50, 3), np.uint8),
            pose=ArrayFrames(pixels(0, 256, (9, 32, 48, 3), np.uint8)),
            face=ArrayFrames(pixels(0, 256, (9, 32, 32, 3), np.uint8)),
            segment_frames=5,
            sampling=sampling,
        )
    return ImageToVideoRequest(
        reference=pixels(0, 256, (20, 30, 3), np.uint8),
        frames=9,
        area=48 * 32,
        sampling=sampling,
    )


def main(paths: list[str]) -> None:
    recorded = RecordedCalls()
    facts: dict[str, Any] = {"version": onnxruntime.__version__, "bundles": {}}
    with tempfile.TemporaryDirectory() as folder:
        device = Device(bindings=MadeUpGpu(Path(folder)).cuda)
        try_provider(device.ordinal)
        for path in paths:
            bundle = Bundle.open(Path(path))
            facts["bundles"][path] = {
                "graphs": dict(of_graphs(bundle, device, recorded)),
                "without_room": without_room(bundle, device),
                "job": of_a_job(bundle, MadeUpGpu(Path(folder)), recorded),
            }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
