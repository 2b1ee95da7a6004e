"""ONNX Runtime's CPU provider behind the executor contract."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnxruntime.capi import (  # type: ignore[import-untyped]
    onnxruntime_pybind11_state as ort_state,
)

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError, ExecutionError, ResourceError, WanTrtError
from wan_trt.engine.executor import Bindings, GraphSpec, TensorSpec
from wan_trt.engine.ort_graph import cpu_graph

# The extension module declares its exceptions at run time, as plain subclasses of Exception.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    MemoryError,
    *(
        kind
        for kind in vars(ort_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)
_LOAD_ERRORS: tuple[type[Exception], ...] = (*_ORT_ERRORS, DecodeError, OSError)
_OUT_OF_MEMORY = ("bad_alloc", "Failed to allocate", "out of memory", "Cannot allocate memory")
_FATAL = 4
_OWN_MAPPING_NBYTES = 1 << 20


def available_threads() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allocate(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """A zeroed array. Large ones get a mapping of their own, so that dropping them returns their
    memory to the system at once and leaves no holes. Raises ResourceError."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    try:
        if nbytes < _OWN_MAPPING_NBYTES:
            return np.zeros(shape, dtype)
        return np.frombuffer(mmap.mmap(-1, nbytes), dtype).reshape(shape)
    except (MemoryError, OSError, ValueError):
        raise ResourceError(
            f"no memory for a tensor of {nbytes} bytes, shape {shape}",
            action="use a smaller size or fewer segment frames, or a machine with more memory",
        ) from None


class OrtBindings:
    """Arrays that ONNX Runtime reads and writes in place."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: dict[str, NDArray[Any]],
        outputs: dict[str, NDArray[Any]],
    ) -> None:
        self.inputs: Mapping[str, NDArray[Any]] = inputs
        self.outputs: Mapping[str, NDArray[Any]] = outputs
        self._binding = session.io_binding()
        for name, array in inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def run(self, session: onnxruntime.InferenceSession) -> None:
        session.run_with_iobinding(self._binding)


class OrtExecutor:
    """One graph file with one set of weights.

    The weights are mapped from their file, not read: pages of them come and go with use. Bindings
    are owned by whoever asked for them and are freed when dropped.
    """

    def __init__(
        self,
        graph: Path,
        weights: Path,
        spec: GraphSpec,
        threads: int | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Load `graph`, whose parameters lie in the folder `weights`: each in the file that `files`
        names, or where the graph says if that is None. `threads` None means all cores that the
        process may use.

        Raises BundleError where the files do not fit each other or `spec`, ResourceError where
        they do not fit into memory.
        """
        self.spec = spec
        self._name = graph.stem
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL  # errors arrive as exceptions
        # Activations are large and few: they go back to the system instead of into an arena that
        # every graph would keep at its peak.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        for key, value in {
            "session.model_external_initializers_file_folder_path": str(weights.resolve()),
            # Packed copies of the weights would be as large as the model, for a few percent.
            "session.disable_prepacking": "1",
            # Quantised and unquantised arithmetic must be the graph's own, not a fusion's.
            "session.disable_quant_qdq": "1",
            # Idle threads of one graph must not spin while another graph runs.
            "session.force_spinning_stop": "1",
        }.items():
            options.add_session_config_entry(key, value)
        try:
            session = onnxruntime.InferenceSession(
                cpu_graph(graph, files), options, providers=["CPUExecutionProvider"]
            )
        except _LOAD_ERRORS as error:
            raise _translate(error, f"loading {graph}", BundleError) from error
        self._session: onnxruntime.InferenceSession | None = session
        self._check_interface(graph, session)

    def _check_interface(self, graph: Path, session: onnxruntime.InferenceSession) -> None:
        for kind, found, specs in (
            ("inputs", session.get_inputs(), self.spec.inputs),
            ("outputs", session.get_outputs(), self.spec.outputs),
        ):
            names = [value.name for value in found]
            expected = [spec.name for spec in specs]
            if sorted(names) != sorted(expected):
                raise BundleError(
                    f"{graph} has {kind} {names}",
                    expected=f"{expected} as its manifest says",
                    action="export the bundle again",
                )

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> OrtBindings:
        """See `Executor.bind`. Raises ValueError for a tensor of another shape or dtype."""
        given = dict(tensors or {})
        inputs = {s.name: bound_array(s, sizes, given) for s in self.spec.inputs}
        outputs = {s.name: bound_array(s, sizes, given) for s in self.spec.outputs}
        if given:
            raise ValueError(f"{self._name} has no tensors {sorted(given)}")
        return OrtBindings(self._open_session(), inputs, outputs)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """See `Executor.launch`; there are no streams on a CPU."""
        if not isinstance(bindings, OrtBindings) or stream is not None:
            raise ValueError("an ORT executor launches its own bindings, without a stream")
        try:
            bindings.run(self._open_session())
        except _ORT_ERRORS as error:
            raise _translate(error, f"running {self._name}", ExecutionError) from error

    def close(self) -> None:
        """Release the weights."""
        self._session = None

    def require_open(self) -> None:
        """Raises ValueError once it is closed."""
        self._open_session()

    def _open_session(self) -> onnxruntime.InferenceSession:
        if self._session is None:
            raise ValueError(f"the executor of {self._name} is closed")
        return self._session


def load_executor(
    bundle: Bundle, graph: str, weight_set: str, threads: int | None = None
) -> OrtExecutor:
    """The executor of a bundle's graph with one of its weight sets."""
    return OrtExecutor(
        bundle.graph_path(graph),
        bundle.weights_folder,
        bundle.manifest.graphs[graph].spec,
        threads,
        bundle.tensor_files(graph, weight_set),
    )


def bound_array(
    spec: TensorSpec, sizes: Mapping[str, int], given: dict[str, NDArray[Any]]
) -> NDArray[Any]:
    """The array of a tensor in a binding: taken out of `given`, or new. Raises ValueError for one
    of another shape or dtype, ResourceError without memory."""
    shape = spec.shape(sizes)
    array = given.pop(spec.name, None)
    if array is None:
        return allocate(shape, spec.dtype)
    if array.shape != shape or array.dtype != spec.dtype or not array.flags.c_contiguous:
        raise ValueError(
            f"{spec.name} must be contiguous {spec.dtype} {shape}, not {array.dtype} {array.shape}"
        )
    return array


def _translate(error: Exception, doing: str, kind: type[WanTrtError]) -> WanTrtError:
    """ONNX Runtime's untyped failures as one of ours."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return ResourceError(
            f"out of memory {doing} ({text})",
            action="use a smaller size, or a machine with more memory",
        )
    if kind is BundleError:
        return BundleError(f"{doing}: {text}", action="copy or export the bundle again")
    return ExecutionError(f"{doing}: {text}", action="report this with the request")
