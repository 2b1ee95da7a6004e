"""How far the velocity moves when linears are quantised: sum |change|^2 / sum |velocity|^2 over the
calls of an expert."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch

from wan_trt.calibration.denoisers import Denoisers
from wan_trt.calibration.fake_quantised import fake_quantised
from wan_trt.calibration.recording import Call
from wan_trt.calibration.torch_executor import run_denoiser
from wan_trt.engine.request import ExpertName
from wan_trt.export.quantize.evidence import ExpertError
from wan_trt.export.quantize.scales import Scales

Errors = dict[ExpertName, ExpertError]


class VelocityErrors:
    """Measures on the same calls again and again; velocities without quantisation are computed
    once."""

    def __init__(
        self,
        denoisers: Denoisers,
        calls: Mapping[ExpertName, Sequence[Call]],
        scales: Scales,
    ) -> None:
        """`scales` has every linear that will be asked for."""
        self._denoisers = denoisers
        self._calls = calls
        self._scales = scales
        self._exact: dict[ExpertName, list[torch.Tensor]] = {}

    def together(self, linears: Collection[str]) -> Errors:
        """The error of each expert with all of `linears` quantised at once."""
        return {expert: self._measure(expert, linears) for expert in ExpertName}

    def alone(self, linears: Collection[str]) -> dict[str, Errors]:
        """The error of each expert with one linear quantised, for each of `linears`."""
        # Expert by expert: on a GPU only one of them is in memory.
        by_expert = {
            expert: {name: self._measure(expert, (name,)) for name in linears}
            for expert in ExpertName
        }
        return {
            name: {expert: errors[name] for expert, errors in by_expert.items()} for name in linears
        }

    def _measure(self, expert: ExpertName, linears: Collection[str]) -> ExpertError:
        exact = self._exact.get(expert) or self._velocities(expert, ())
        self._exact[expert] = exact
        changed = self._velocities(expert, linears)
        changes = [
            _square(new.double() - old.double()) for new, old in zip(changed, exact, strict=True)
        ]
        squares = [_square(velocity.double()) for velocity in exact]
        calls = tuple(change / square for change, square in zip(changes, squares, strict=True))
        return ExpertError(sum(changes) / sum(squares), calls)

    def _velocities(self, expert: ExpertName, linears: Collection[str]) -> list[torch.Tensor]:
        module = self._denoisers.of_expert(expert)
        ranges, fitted = self._scales.ranges[expert], self._scales.fitted.get(expert)
        with fake_quantised(module, {name: ranges[name] for name in linears}, fitted):
            return [
                run_denoiser(module, call.inputs, self._denoisers.device).cpu()
                for call in self._calls[expert]
            ]


def _square(tensor: torch.Tensor) -> float:
    return float(tensor.square().sum())
