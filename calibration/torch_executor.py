"""A torch denoiser behind the engine's executor contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wan_trt.calibration.denoisers import GRAPH, Denoisers
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executor import Bindings, Executor, GraphSpec
from wan_trt.engine.executors import Load
from wan_trt.engine.ort import bound_array, load_executor
from wan_trt.export.modeling.denoiser import Denoiser

BeforeCall = Callable[[Mapping[str, NDArray[Any]]], None]
"""Is given the inputs of a call by name; they are only valid during it."""


@dataclass(frozen=True)
class TorchBindings:
    """Arrays on the CPU, whatever the module's device."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]


class TorchExecutor:
    """The denoiser with one weight set; `before_call` are told of each launch."""

    def __init__(
        self, denoisers: Denoisers, weight_set: str, before_call: Sequence[BeforeCall] = ()
    ) -> None:
        self._denoisers = denoisers
        self._weight_set = weight_set
        self._before_call = tuple(before_call)
        self.spec: GraphSpec = denoisers.modules[weight_set].spec

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> TorchBindings:
        """See `Executor.bind`. Raises ValueError for a tensor of another shape or dtype."""
        given = dict(tensors or {})
        inputs = {spec.name: bound_array(spec, sizes, given) for spec in self.spec.inputs}
        outputs = {spec.name: bound_array(spec, sizes, given) for spec in self.spec.outputs}
        if given:
            raise ValueError(f"the denoiser has no tensors {sorted(given)}")
        return TorchBindings(inputs, outputs)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        """See `Executor.launch`; it returns when the outputs are ready."""
        if stream is not None:
            raise ValueError("a torch executor has no streams")
        for tell in self._before_call:
            tell(bindings.inputs)
        module = self._denoisers.get(self._weight_set)
        velocity = run_denoiser(module, bindings.inputs, self._denoisers.device)
        np.copyto(bindings.outputs["velocity"], velocity.cpu().numpy())

    def close(self) -> None:
        """The modules are the caller's."""


def run_denoiser(
    module: Denoiser, inputs: Mapping[str, NDArray[Any]], device: torch.device
) -> torch.Tensor:
    """The velocity, float32 on `device`. Raises ResourceError when its memory is full."""
    try:
        with torch.no_grad():
            tensors = [
                torch.from_numpy(inputs[spec.name]).to(device) for spec in module.spec.inputs
            ]
            velocity: torch.Tensor = module(*tensors)
            return velocity
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"out of memory on the GPU ({str(error).splitlines()[0]})",
            action="use smaller samples, or a GPU with more memory",
        ) from None


def with_torch_denoisers(denoisers: Denoisers, before_call: Sequence[BeforeCall]) -> Load:
    """What an `Engine` loads its graphs by: the denoiser is torch, all else ONNX Runtime."""
    return partial(_load, denoisers, tuple(before_call))


def _load(
    denoisers: Denoisers,
    before_call: tuple[BeforeCall, ...],
    bundle: Bundle,
    graph: str,
    weight_set: str,
) -> Executor:
    if graph == GRAPH:
        return TorchExecutor(denoisers, weight_set, before_call)
    return load_executor(bundle, graph, weight_set)
