"""Torch modules behind the engine's executor contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wan_trt.calibration.torch_graphs import TorchGraphs
from wan_trt.calibration.writers import Arrays
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executor import Bindings, Executor, GraphSpec
from wan_trt.engine.executors import Load
from wan_trt.engine.ort import bound_array, load_executor
from wan_trt.export.modeling.module import ExportModule


@dataclass(frozen=True)
class GraphCall:
    """A launch that is about to be made. `inputs` are only valid during it; `outputs`, which are
    not there yet, will be at these addresses."""

    graph: str
    weight_set: str
    inputs: Arrays
    outputs: Arrays


BeforeCall = Callable[[GraphCall], None]


@dataclass(frozen=True)
class TorchBindings:
    """Arrays on the CPU, whatever the module's device."""

    inputs: Arrays
    outputs: Arrays


class TorchExecutor:
    """A graph with one weight set; `before_call` are told of each launch."""

    def __init__(
        self,
        graphs: TorchGraphs,
        graph: str,
        weight_set: str,
        before_call: Sequence[BeforeCall] = (),
    ) -> None:
        self._graphs = graphs
        self._graph, self._weight_set = graph, weight_set
        self._before_call = tuple(before_call)
        self.spec: GraphSpec = graphs.modules[graph, weight_set].spec

    def bind(self, sizes: Mapping[str, int], tensors: Arrays | None = None) -> TorchBindings:
        """See `Executor.bind`. Raises ValueError for a tensor of another shape or dtype."""
        given = dict(tensors or {})
        inputs = {spec.name: bound_array(spec, sizes, given) for spec in self.spec.inputs}
        outputs = {spec.name: bound_array(spec, sizes, given) for spec in self.spec.outputs}
        if given:
            raise ValueError(f"{self._graph} has no tensors {sorted(given)}")
        return TorchBindings(inputs, outputs)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """See `Executor.launch`; it returns when the outputs are ready."""
        if stream is not None:
            raise ValueError("a torch executor has no streams")
        call = GraphCall(self._graph, self._weight_set, bindings.inputs, bindings.outputs)
        for tell in self._before_call:
            tell(call)
        module = self._graphs.get(self._graph, self._weight_set)
        found = run_module(module, bindings.inputs, self._graphs.device_of(self._graph))
        for name, value in found.items():
            np.copyto(bindings.outputs[name], value)

    def close(self) -> None:
        """The modules are the caller's."""


def run_module(
    module: ExportModule, inputs: Arrays, device: torch.device
) -> dict[str, NDArray[Any]]:
    """The outputs by name. Raises ResourceError when the device's memory is full."""
    try:
        with torch.no_grad():
            tensors = [
                torch.from_numpy(inputs[spec.name]).to(device) for spec in module.spec.inputs
            ]
            result = module(*tensors)
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"out of memory on the GPU ({str(error).splitlines()[0]})",
            action="use smaller samples, or a GPU with more memory",
        ) from None
    outputs = result if isinstance(result, tuple) else (result,)
    return {
        spec.name: output.cpu().numpy()
        for spec, output in zip(module.spec.outputs, outputs, strict=True)
    }


def with_torch_graphs(graphs: TorchGraphs, before_call: Sequence[BeforeCall]) -> Load:
    """What an `Engine` loads its graphs by: those of `graphs` are torch, all else ONNX Runtime."""
    return partial(_load, graphs, tuple(before_call))


def _load(
    graphs: TorchGraphs,
    before_call: tuple[BeforeCall, ...],
    bundle: Bundle,
    graph: str,
    weight_set: str,
) -> Executor:
    if graph in graphs.names:
        return TorchExecutor(graphs, graph, weight_set, before_call)
    return load_executor(bundle, graph, weight_set)
