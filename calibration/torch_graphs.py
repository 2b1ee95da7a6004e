"""The experts' graphs of a bundle as torch modules with its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import StoredTensor
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.quantize.policy import candidates

_CPU = torch.device("cpu")
_NUMPY_DTYPES: Mapping[str, Any] = {"float32": np.float32, "bfloat16": np.int16}


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TorchGraphs:
    """One module for each weight set of a graph, in float32: experts with the same weights share
    one.

    The denoisers run on the GPU if there is one; only the one that was asked for last has its
    weights there. Contexts run on the CPU: once for a prompt, a job or a segment, they are not
    worth the denoiser's place.
    """

    def __init__(
        self,
        bundle: Bundle,
        planned: Mapping[str, ExportModule],
        device: torch.device | None = None,
    ) -> None:
        """`planned` are the graphs that are wanted, by name; their weights are not read."""
        self.device = device or default_device()
        self._bundle = bundle
        self._loaded: set[tuple[str, str]] = set()
        self.modules = {
            (graph, weight_set): module.empty_on("meta")
            for graph, module in planned.items()
            for weight_set in bundle.manifest.graphs[graph].weights
        }
        self.names = tuple(planned)
        self.candidates = candidates(planned)
        self.graph_of = {linear: graph for graph, own in self.candidates.items() for linear in own}

    def device_of(self, graph: str) -> torch.device:
        """Where the graph runs."""
        return self.device if graph == DENOISER else _CPU

    def weight_sizes(self, linears: Iterable[str]) -> dict[str, int]:
        """How many numbers the matrix of each has: its bytes at FP8."""
        modules = {graph: module for (graph, _), module in self.modules.items()}
        return {
            name: modules[self.graph_of[name]].get_parameter(f"{name}.weight").numel()
            for name in linears
        }

    def sharing(self, linear: str) -> list[tuple[ExpertName, ...]]:
        """The experts, those together that have the same matrix."""
        experts: dict[str, tuple[ExpertName, ...]] = {}
        for expert in ExpertName:
            sha256 = self._stored(linear, expert)[f"{linear}.weight"].sha256
            experts[sha256] = (*experts.get(sha256, ()), expert)
        return list(experts.values())

    def matrix(self, linear: str, expert: ExpertName) -> torch.Tensor:
        """float32 [in, out], on the device that runs denoisers."""
        return self._read(self._stored(linear, expert)[f"{linear}.weight"]).to(self.device)

    def has_bias(self, linear: str) -> bool:
        """Whether it adds one."""
        return f"{linear}.bias" in self._stored(linear, ExpertName.HIGH)

    def _stored(self, linear: str, expert: ExpertName) -> Mapping[str, StoredTensor]:
        """The tensors of its graph."""
        graph = self.graph_of[linear]
        weights = self._bundle.manifest.graphs[graph].weights
        return weights[self._bundle.weight_set(graph, expert)]

    def of_expert(self, graph: str, expert: ExpertName) -> ExportModule:
        """See `get`."""
        return self.get(graph, self._bundle.weight_set(graph, expert))

    def get(self, graph: str, weight_set: str) -> ExportModule:
        """The module, ready to run; always the same object."""
        key, device = (graph, weight_set), self.device_of(graph)
        module = self.modules[key]
        if key not in self._loaded:
            if device != _CPU:
                self._unload(graph)
            stored = self._bundle.manifest.graphs[graph].weights[weight_set]
            tensors = {name: self._read(tensor).to(device) for name, tensor in stored.items()}
            module.load_state_dict(tensors, assign=True)
            self._loaded.add(key)
        return module

    def _unload(self, graph: str) -> None:
        for key in [key for key in self._loaded if key[0] == graph]:
            module = self.modules[key]
            empty = {name: tensor.to("meta") for name, tensor in module.state_dict().items()}
            module.load_state_dict(empty, assign=True)
            self._loaded.remove(key)

    def _read(self, stored: StoredTensor) -> torch.Tensor:
        """Float32 tensors are mapped, not read."""
        file = self._bundle.weights_folder / stored.sha256
        dtype = stored.made.dtype
        array = np.memmap(file, _NUMPY_DTYPES[dtype], "c", shape=stored.shape)
        tensor = torch.from_numpy(array)
        return tensor if dtype == "float32" else tensor.view(torch.bfloat16).float()
