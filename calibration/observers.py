"""Observers of what the denoisers round at FP8: which ranges each expert's calls have."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from wan_trt.calibration.fitting import MeanObserver
from wan_trt.calibration.ranges import Method, RangeObserver
from wan_trt.calibration.watching import watch
from wan_trt.engine.errors import InputError
from wan_trt.engine.request import ExpertName
from wan_trt.engine.schedule import expert_for
from wan_trt.export.quantize.attention_inputs import linears_of


class Observers:
    """One for each expert and tensor. Experts that share a module are told apart by the timestep,
    as the engine chooses them."""

    def __init__(self, rounded: Collection[str], method: Method, boundary: float) -> None:
        """`rounded` as `Quantised` has it; `boundary` is the bundle's."""
        self._boundary = boundary
        self._expert = ExpertName.HIGH
        self._of = {
            expert: {name: RangeObserver(method) for name in rounded} for expert in ExpertName
        }
        linears = linears_of(rounded)
        self._means = {expert: {name: MeanObserver() for name in linears} for expert in ExpertName}
        self._timesteps: dict[ExpertName, set[int]] = {expert: set() for expert in ExpertName}

    def attach(self, module: nn.Module) -> list[Callable[[], None]]:
        """Look into a denoiser until all of the result is called."""
        return [watch(module, name, partial(self._see, name)) for name in self._of[ExpertName.HIGH]]

    def before_call(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Note whose call it is, by the denoiser's inputs."""
        timestep = int(inputs["timestep"][0])
        self._expert = expert_for(timestep, self._boundary)
        self._timesteps[self._expert].add(timestep)

    def _see(self, name: str, tensor: torch.Tensor) -> None:
        self._of[self._expert][name].see(tensor)
        if name in self._means[self._expert]:
            self._means[self._expert][name].see(tensor)

    @property
    def timesteps(self) -> dict[ExpertName, list[int]]:
        """Those that each expert has served, falling."""
        return {expert: sorted(seen, reverse=True) for expert, seen in self._timesteps.items()}

    def calls(self, expert: ExpertName) -> int:
        """How often the expert has run."""
        return max(observer.calls for observer in self._of[expert].values())

    def means(self, expert: ExpertName) -> dict[str, torch.Tensor]:
        """Of each linear's input float64 [in]. Every linear has been seen."""
        return {name: observer.mean() for name, observer in self._means[expert].items()}

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
            for expert, observers in self._of.items()
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
