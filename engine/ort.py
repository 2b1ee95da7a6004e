"""ONNX Runtime's CPU provider behind the executor contract."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.binding import bound_tensor, bound_tensors
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executor import Bindings, GraphSpec, TensorSpec
from wan_trt.engine.ort_graph import graph_for_cpu
from wan_trt.engine.ort_session import OrtSession, read_graph, session_options
from wan_trt.engine.threads import available_threads

_OWN_MAPPING_NBYTES = 1 << 20


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
        self, session: OrtSession, inputs: dict[str, NDArray[Any]], outputs: dict[str, NDArray[Any]]
    ) -> None:
        self.inputs: Mapping[str, NDArray[Any]] = inputs
        self.outputs: Mapping[str, NDArray[Any]] = outputs
        self.binding = session.open.io_binding()
        for name, array in inputs.items():
            self.binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            self.binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)


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
        settings = {
            # Packed copies of the weights would be as large as the model, for a few percent.
            "session.disable_prepacking": "1",
            # Idle threads of one graph must not spin while another graph runs.
            "session.force_spinning_stop": "1",
        }
        options = session_options(weights, settings)
        options.intra_op_num_threads = threads or available_threads()
        options.inter_op_num_threads = 1
        # Activations are large and few: they go back to the system instead of into an arena that
        # every graph would keep at its peak.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        model = read_graph(graph, lambda: graph_for_cpu(graph, files))
        self._session = OrtSession(
            graph, model.SerializeToString(), spec, options, ["CPUExecutionProvider"]
        )

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> OrtBindings:
        """See `Executor.bind`; arrays that are not given are new."""
        inputs, outputs = bound_tensors(self._session.name, self.spec, sizes, tensors, allocate)
        return OrtBindings(self._session, inputs, outputs)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """See `Executor.launch`; there are no streams on a CPU."""
        if not isinstance(bindings, OrtBindings) or stream is not None:
            raise ValueError("an ORT executor launches its own bindings, without a stream")
        self._session.run(bindings.binding)

    def require_open(self) -> None:
        """Raises ValueError once it is closed."""
        _ = self._session.open

    def close(self) -> None:
        """Release the weights."""
        self._session.close()


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
    array: NDArray[Any] = bound_tensor(spec, sizes, given, allocate)
    return array
