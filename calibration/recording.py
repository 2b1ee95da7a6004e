"""Calls of the denoisers, and of the contexts that they read, kept to be repeated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.calibration.torch_executor import GraphCall
from wan_trt.calibration.writers import Arrays, Writers
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.engine.schedule import expert_for


@dataclass(frozen=True, eq=False)
class ContextCall:
    """What a context graph was given, by name."""

    graph: str
    inputs: Arrays


@dataclass(frozen=True, eq=False)
class Call:
    """A denoiser's inputs by name, as they were, but for those that `contexts` compute."""

    timestep: int
    inputs: Arrays
    contexts: tuple[ContextCall, ...]


class Recording:
    """Every call in its order. Arrays that are equal are kept once, and contexts are kept as what
    they are computed from."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._arrays: dict[tuple[str, bytes], NDArray[Any]] = {}
        self._writers: Writers[ContextCall] = Writers()

    def before_call(self, call: GraphCall) -> None:
        """Keep what it is given."""
        if call.graph == DENOISER:
            plain, contexts = self._writers.split(call.inputs)
            timestep = int(call.inputs["timestep"][0])
            self._calls.append(Call(timestep, self._keep_all(plain), contexts))
        else:
            context = ContextCall(call.graph, self._keep_all(call.inputs))
            self._writers.note(context, call.outputs)

    def _keep_all(self, arrays: Arrays) -> Arrays:
        return {name: self._keep(name, array) for name, array in arrays.items()}

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
