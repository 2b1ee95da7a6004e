"""Observers of what the experts' graphs round at FP8: which ranges each expert's calls have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from wan_trt.calibration.ranges import Method, RangeObserver
from wan_trt.calibration.seen_inputs import InputObserver, SeenInput
from wan_trt.calibration.torch_executor import GraphCall
from wan_trt.calibration.watching import watch
from wan_trt.engine.errors import InputError
from wan_trt.engine.manifest import SHARED
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.engine.schedule import expert_for
from wan_trt.export.quantize.rounding import NOTHING, Rounding


class Observers:
    """One for each expert and tensor: the range of what is rounded, and what any FP8 linear
    reads. Experts that share a denoiser are told apart by the
    timestep, as the engine chooses them; a context that they share is run for both."""

    def __init__(self, rounded: Mapping[str, Rounding], method: Method, boundary: float) -> None:
        """`rounded` by graph; `boundary` is the bundle's."""
        self._boundary = boundary
        self._rounded = rounded
        self._served: tuple[ExpertName, ...] = ()
        every = Rounding.of_all(rounded)
        inputs, linears = sorted(every.inputs), sorted(every.weights)
        self._ranges = {
            expert: {name: RangeObserver(method) for name in inputs} for expert in ExpertName
        }
        self._inputs = {
            expert: {name: InputObserver() for name in linears} for expert in ExpertName
        }
        self._timesteps: dict[ExpertName, set[int]] = {expert: set() for expert in ExpertName}

    def attach(self, graph: str, module: nn.Module) -> list[Callable[[], None]]:
        """Look into a graph until all of the result is called."""
        names = self._rounded.get(graph, NOTHING).names
        return [watch(module, name, partial(self._see, name)) for name in sorted(names)]

    def before_call(self, call: GraphCall) -> None:
        """Note whose call it is."""
        if call.graph == DENOISER:
            timestep = int(call.inputs["timestep"][0])
            expert = expert_for(timestep, self._boundary)
            self._timesteps[expert].add(timestep)
            self._served = (expert,)
        elif call.weight_set == SHARED:
            self._served = tuple(ExpertName)
        else:
            self._served = (ExpertName(call.weight_set),)

    def _see(self, name: str, tensor: torch.Tensor) -> None:
        for expert in self._served:
            if name in self._ranges[expert]:
                self._ranges[expert][name].see(tensor)
            if name in self._inputs[expert]:
                self._inputs[expert][name].see(tensor)

    @property
    def timesteps(self) -> dict[ExpertName, list[int]]:
        """Those that each expert has served, falling."""
        return {expert: sorted(seen, reverse=True) for expert, seen in self._timesteps.items()}

    @property
    def linears(self) -> tuple[str, ...]:
        """Those whose inputs are looked at."""
        return tuple(self._inputs[ExpertName.HIGH])

    def seen(self, expert: ExpertName, linear: str) -> SeenInput:
        """What the linear has read, which has run."""
        return self._inputs[expert][linear].seen()

    def ranges(self) -> dict[ExpertName, dict[str, float]]:
        """Raises InputError for an expert that no sample has run, and for a tensor that was zero
        throughout or not finite."""
        for expert, seen in self._timesteps.items():
            if not seen:
                raise InputError(
                    f"no sample has a step of the {expert}-noise expert",
                    expected=f"timesteps on both sides of {1000 * self._boundary:g}",
                    action="use more steps, or a boundary inside the schedule",
                    field="inputs",
                )
        found = {
            expert: {name: observer.range() for name, observer in observers.items()}
            for expert, observers in self._ranges.items()
        }
        for expert, ranges in found.items():
            for name, value in ranges.items():
                if not math.isfinite(value) or value <= 0:
                    raise InputError(
                        f"the input of {name} of the {expert}-noise expert has the range {value}",
                        expected="finite values, not zero throughout",
                        action="use samples that show something, or keep it out of the policy",
                        field="inputs",
                    )
        return found
