"""The denoisers of a bundle as torch modules with its weights, on the GPU if there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import StoredTensor
from wan_trt.engine.request import ExpertName
from wan_trt.export.modeling.denoiser import Denoiser

GRAPH = "denoiser"
_NUMPY_DTYPES: Mapping[str, Any] = {"float32": np.float32, "bfloat16": np.int16}


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Denoisers:
    """One module for each weight set of the graph, in float32: experts with the same weights share
    one. On a GPU only the module that was asked for last has its weights in memory."""

    def __init__(self, bundle: Bundle, like: Denoiser, device: torch.device | None = None) -> None:
        """`like` has the sizes; its weights are not read."""
        self.device = device or default_device()
        self._bundle = bundle
        self._weights = bundle.manifest.graphs[GRAPH].weights
        self._loaded: set[str] = set()
        with torch.device("meta"):
            self.modules = {
                weight_set: Denoiser(like.sizes, like.image, like.face).requires_grad_(False)
                for weight_set in self._weights
            }

    def of_expert(self, expert: ExpertName) -> Denoiser:
        """See `get`."""
        return self.get(self._bundle.weight_set(GRAPH, expert))

    def get(self, weight_set: str) -> Denoiser:
        """The module, ready to run; always the same object."""
        module = self.modules[weight_set]
        if weight_set not in self._loaded:
            if self.device.type != "cpu":
                self._unload()
            tensors = {
                name: self._read(tensor).to(self.device)
                for name, tensor in self._weights[weight_set].items()
            }
            module.load_state_dict(tensors, assign=True)
            self._loaded.add(weight_set)
        return module

    def _unload(self) -> None:
        for weight_set in self._loaded:
            module = self.modules[weight_set]
            empty = {name: tensor.to("meta") for name, tensor in module.state_dict().items()}
            module.load_state_dict(empty, assign=True)
        self._loaded.clear()

    def _read(self, stored: StoredTensor) -> torch.Tensor:
        """Float32 tensors are mapped, not read."""
        file = self._bundle.weights_folder / stored.sha256
        dtype = stored.made.dtype
        array = np.memmap(file, _NUMPY_DTYPES[dtype], "c", shape=stored.shape)
        tensor = torch.from_numpy(array)
        return tensor if dtype == "float32" else tensor.view(torch.bfloat16).float()
