"""ONNX Runtime's CUDA provider behind the executor contract.

It runs a bundle on any NVIDIA GPU, also where TensorRT or a plan is missing. Tensors are bound
where they lie in device memory, and everything is enqueued on the stream that the executor was made
for. Weights are kept as they are stored; the provider's scratch is its own.

Sources: ONNX Runtime's documentation of the CUDA provider, of IO binding, and of its session and
run options (onnxruntime_session_options_config_keys.h, onnxruntime_run_options_config_keys.h).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]

from wan_trt.engine.binding import bound_tensors
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda.backend import CudaBackend
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import ExecutionError, ResourceError
from wan_trt.engine.executor import Bindings, GraphSpec
from wan_trt.engine.lanes import lane_of_graph
from wan_trt.engine.models import DENOISER
from wan_trt.engine.ort_cuda_libraries import CUDA, load_libraries, missing_library
from wan_trt.engine.ort_graph import graph_for_cuda
from wan_trt.engine.ort_placement import (
    PlacedNode,
    describe,
    fallen_back,
    name_nodes,
    nodes_of_sizes,
)
from wan_trt.engine.ort_session import FATAL, OrtSession, read_graph, session_options

SETTINGS: Mapping[str, str] = {
    # Which provider each node was given to: asked below.
    "session.record_ep_graph_assignment_info": "1",
    # Weights are as large as they are, and stay out of the arena, which grows by more.
    "session.use_device_allocator_for_initializers": "1",
}


WITHOUT = ("ConstantFolding",)
"""It would widen stored bfloat16 and E4M3 once and for all: to up to four times the memory."""


def provider_options(ordinal: int, stream: int) -> dict[str, str]:
    """Of the CUDA provider, for GPU `ordinal` and a stream of its context."""
    return {
        "device_id": str(ordinal),
        "user_compute_stream": str(stream),
        "do_copy_in_default_stream": "1",
        # The arena grows by what is asked for, not to the next power of two.
        "arena_extend_strategy": "kSameAsRequested",
        # The exhaustive search would try every algorithm at each new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Products of float32 in float32.
        "use_tf32": "0",
    }


def run_settings(ordinal: int, keep_scratch: bool) -> dict[str, str]:
    """Of one run: it returns when all is enqueued. Without `keep_scratch` the arena gives back
    afterwards what it took, which waits for the GPU.

    The first run at some sizes takes memory tensor by tensor, and those after it take one block,
    as that run has shown: without giving back in between, a graph would keep both.
    """
    settings = {"disable_synchronize_execution_providers": "1"}
    if not keep_scratch:
        settings["memory.enable_memory_arena_shrinkage"] = f"gpu:{ordinal}"
    return settings


@dataclass(frozen=True)
class OrtCudaBindings:
    """Device tensors, and what ONNX Runtime knows them by."""

    inputs: Mapping[str, DeviceTensor]
    outputs: Mapping[str, DeviceTensor]
    binding: Any
    sizes: frozenset[tuple[str, int]]


class OrtCudaExecutor:
    """One graph with one set of weights on one GPU and one stream."""

    def __init__(
        self,
        graph: Path,
        weights: Path,
        spec: GraphSpec,
        device: Device,
        stream: int,
        files: Mapping[str, str] | None = None,
        keep_scratch: bool = False,
    ) -> None:
        """`graph`, `weights` and `files` as `OrtExecutor` has them; `keep_scratch` for a graph
        that is run step after step.

        Raises ResourceError where ONNX Runtime has no usable CUDA provider, ExecutionError where
        that leaves nodes to the CPU, BundleError where the files do not fit each other or `spec`.
        """
        _require_provider()
        self.spec = spec
        self._ordinal = device.ordinal
        self._gate = device.gate
        self._stream = stream
        self._giving_back = _run_options(device.ordinal, keep_scratch=False)
        self._warm = _run_options(device.ordinal, keep_scratch)
        self._run_at: set[frozenset[tuple[str, int]]] = set()
        model = read_graph(graph, lambda: graph_for_cuda(graph, files))
        name_nodes(model)
        self._session = OrtSession(
            graph,
            model.SerializeToString(),
            spec,
            session_options(weights, SETTINGS),
            [(CUDA, provider_options(device.ordinal, stream))],
            WITHOUT,
        )
        _require_started(self._session.open)
        require_no_fallback(self._session.name, placed_nodes(self._session), nodes_of_sizes(model))

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, DeviceTensor] | None = None
    ) -> OrtCudaBindings:
        """See `Executor.bind`; all tensors are given."""
        inputs, outputs = bound_tensors(self._session.name, self.spec, sizes, tensors)
        binding = self._session.open.io_binding()
        for bind, bound in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, tensor in bound.items():
                dtype = np.dtype(tensor.dtype)
                bind(name, "cuda", self._ordinal, dtype, tensor.shape, tensor.address)
        return OrtCudaBindings(inputs, outputs, binding, frozenset(sizes.items()))

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """See `Executor.launch`; the stream is the one that the executor was made for."""
        if not isinstance(bindings, OrtCudaBindings) or stream != self._stream:
            raise ValueError("an ORT executor on a GPU launches its own bindings on its own stream")
        warm = bindings.sizes in self._run_at
        self._session.run(bindings.binding, self._warm if warm else self._giving_back)
        self._run_at.add(bindings.sizes)

    def close(self) -> None:
        """Release weights and scratch."""
        with self._gate.loading():  # cublasDestroy waits for the whole GPU
            self._session.close()


def _run_options(ordinal: int, keep_scratch: bool) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    for key, value in run_settings(ordinal, keep_scratch).items():
        options.add_run_config_entry(key, value)
    return options


def try_provider(ordinal: int) -> None:
    """Raises ResourceError where this ONNX Runtime runs nothing on that GPU, and says why."""
    _require_provider()
    smallest = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 23]> g (float x) => (float y) { y = Neg (x) }'
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    session = onnxruntime.InferenceSession(
        smallest.SerializeToString(),
        options,
        providers=[(CUDA, {"device_id": str(ordinal)})],
        enable_fallback=0,
    )
    _require_started(session)


def _require_provider() -> None:
    """Raises ResourceError where this ONNX Runtime has no CUDA provider, or no cuDNN for it."""
    providers = onnxruntime.get_available_providers()
    if CUDA not in providers:
        raise ResourceError(
            f"ONNX Runtime {onnxruntime.__version__} has no CUDA provider here "
            f"(it has {', '.join(providers)})",
            expected=CUDA,
            action="install onnxruntime-gpu in the place of onnxruntime "
            "(pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]')",
        )
    load_libraries()


def _require_started(session: onnxruntime.InferenceSession) -> None:
    """A provider that cannot be set up is left out without an error."""
    if CUDA not in session.get_providers():
        raise missing_library()


def placed_nodes(session: OrtSession) -> tuple[PlacedNode, ...]:
    """Every node of a session that was loaded with `SETTINGS`."""
    if not hasattr(session.open, "get_provider_graph_assignment_info"):
        raise ResourceError(
            f"ONNX Runtime {onnxruntime.__version__} cannot say which provider runs a node",
            expected="a version with get_provider_graph_assignment_info",
            action="install a newer onnxruntime-gpu",
        )
    return tuple(
        PlacedNode(node.name, node.op_type, part.ep_name)
        for part in session.open.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    )


def require_no_fallback(
    name: str, placed: tuple[PlacedNode, ...], of_sizes: frozenset[str]
) -> None:
    """Raises ExecutionError for nodes that the CPU would run, and names them."""
    if left := fallen_back(placed, of_sizes):
        raise ExecutionError(
            f"the CUDA provider of ONNX Runtime {onnxruntime.__version__} has no kernels for "
            f"{len(left)} nodes of {name}: {describe(left)}",
            expected="every node on the GPU",
            action="use a newer onnxruntime-gpu, TensorRT plans, or --device cpu",
        )


def load_on_gpu(
    bundle: Bundle,
    graph: str,
    weight_set: str,
    backend: CudaBackend,
    *,
    keeps_scratch: bool = True,
) -> OrtCudaExecutor:
    """The executor of a bundle's graph with one of its weight sets; `keeps_scratch`: that of a
    denoiser between its steps."""
    return OrtCudaExecutor(
        bundle.graph_path(graph),
        bundle.weights_folder,
        bundle.manifest.graphs[graph].spec,
        backend.device,
        backend.spaces[lane_of_graph(graph)].stream,
        bundle.tensor_files(graph, weight_set),
        keep_scratch=keeps_scratch and graph == DENOISER,
    )
