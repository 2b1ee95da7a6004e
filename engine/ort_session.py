"""What ONNX Runtime's providers have in common: how a graph is loaded, checked, run and closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError
from onnx import ModelProto
from onnxruntime.capi import (  # type: ignore[import-untyped]
    onnxruntime_pybind11_state as ort_state,
)

from wan_trt.engine.errors import BundleError, ExecutionError, ResourceError, WanTrtError
from wan_trt.engine.executor import GraphSpec

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
_OUT_OF_MEMORY = (
    "bad_alloc",
    "Failed to allocate",
    "out of memory",
    "Cannot allocate memory",
    "ALLOC_FAILED",  # cuBLAS, and cuDNN before 9
    "ALLOCATION_FAILED",  # cuDNN
    "resource allocation failed",
)
FATAL = 4
"""Of ONNX Runtime's log: errors arrive as exceptions."""

Provider = str | tuple[str, Mapping[str, str]]


def session_options(weights: Path, settings: Mapping[str, str]) -> onnxruntime.SessionOptions:
    """Options that hold for every provider, and more `settings` by their key. The parameters' files
    lie in the folder `weights`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    for key, value in {
        "session.model_external_initializers_file_folder_path": str(weights.resolve()),
        # Quantised and unquantised arithmetic must be the graph's own, not a fusion's.
        "session.disable_quant_qdq": "1",
        **settings,
    }.items():
        options.add_session_config_entry(key, value)
    return options


class OrtSession:
    """One graph with one set of weights, on the providers given."""

    def __init__(
        self,
        graph: Path,
        model: bytes,
        spec: GraphSpec,
        options: onnxruntime.SessionOptions,
        providers: Sequence[Provider],
        without: Sequence[str] = (),
    ) -> None:
        """`graph` is where `model` comes from, for messages; `without` names optimisers of graphs
        that are not to run.

        Raises BundleError where the files do not fit each other or `spec`, ResourceError where
        they do not fit into memory.
        """
        self.spec = spec
        self.name = graph.stem
        try:
            # Without a fallback: it would print, and go on with other providers.
            session = onnxruntime.InferenceSession(
                model,
                options,
                providers=list(providers),
                enable_fallback=0,
                disabled_optimizers=list(without),
            )
        except _LOAD_ERRORS as error:
            raise translate(error, f"loading {graph}", BundleError) from error
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

    @property
    def open(self) -> onnxruntime.InferenceSession:
        """Raises ValueError once it is closed."""
        if self._session is None:
            raise ValueError(f"the executor of {self.name} is closed")
        return self._session

    def run(self, binding: Any, options: Any = None) -> None:
        """Raises ExecutionError when the graph fails, ResourceError without memory."""
        try:
            self.open.run_with_iobinding(binding, options)
        except _ORT_ERRORS as error:
            raise translate(error, f"running {self.name}", ExecutionError) from error

    def close(self) -> None:
        """Release the weights."""
        self._session = None


def read_graph(graph: Path, read: Callable[[], ModelProto]) -> ModelProto:
    """The model that `read` gives. Raises BundleError where `graph` is no graph."""
    try:
        return read()
    except _LOAD_ERRORS as error:
        raise translate(error, f"loading {graph}", BundleError) from error


def translate(error: Exception, doing: str, kind: type[WanTrtError]) -> WanTrtError:
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
