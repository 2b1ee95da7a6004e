"""Calls of the denoisers, kept to be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.request import ExpertName
from wan_trt.engine.schedule import expert_for


@dataclass(frozen=True)
class Call:
    """A denoiser's inputs by name, as they were."""

    timestep: int
    inputs: Mapping[str, NDArray[Any]]


class Recording:
    """Every call in its order. Arrays that are equal, as contexts are from step to step, are kept
    once."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._arrays: dict[tuple[str, bytes], NDArray[Any]] = {}

    def before_call(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Keep a call's inputs."""
        kept = {name: self._keep(name, array) for name, array in inputs.items()}
        self._calls.append(Call(int(inputs["timestep"][0]), kept))

    def _keep(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        digest = hashlib.sha256(repr(array.shape).encode())
        digest.update(array.data)
        key = name, digest.digest()
        if key not in self._arrays:
            self._arrays[key] = array.copy()
        return self._arrays[key]

    def spread(self, boundary: float, most: int) -> dict[ExpertName, tuple[Call, ...]]:
        """At most `most` calls of each expert, evenly from its first to its last by timestep."""
        found: dict[ExpertName, tuple[Call, ...]] = {}
        for expert in ExpertName:
            own = [call for call in self._calls if expert_for(call.timestep, boundary) is expert]
            own.sort(key=lambda call: -call.timestep)
            places = np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(int)
            found[expert] = tuple(own[place] for place in places)
        return found
