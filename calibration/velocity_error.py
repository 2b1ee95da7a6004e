"""How far the velocity moves when linears are quantised: sum |change|^2 / sum |velocity|^2 over the
calls of an expert.

Linears of the contexts count by what their keys and values do to the velocity.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.calibration.fake_quantised import fake_quantised
from wan_trt.calibration.recording import Call, ContextCall
from wan_trt.calibration.torch_executor import run_module
from wan_trt.calibration.torch_graphs import TorchGraphs
from wan_trt.calibration.writers import Arrays
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.export.quantize.evidence import ExpertError
from wan_trt.export.quantize.rounding import Rounding
from wan_trt.export.quantize.scales import Scales

Errors = dict[ExpertName, ExpertError]


class VelocityErrors:
    """Measures on the same calls again and again. What is without quantisation, and what each
    linear makes alone, is computed once."""

    def __init__(
        self,
        graphs: TorchGraphs,
        calls: Mapping[ExpertName, Sequence[Call]],
        scales: Scales,
    ) -> None:
        """`scales` is of a policy with every linear that will be asked for."""
        self._graphs = graphs
        self._calls = calls
        self._scales = scales
        self._exact: dict[ExpertName, list[NDArray[Any]]] = {}
        self._exact_contexts: dict[tuple[ExpertName, ContextCall], Arrays] = {}
        self._alone: dict[tuple[ExpertName, str], ExpertError] = {}

    @property
    def timesteps(self) -> dict[str, tuple[int, ...]]:
        """Of each expert's calls, by its name."""
        return {
            expert.value: tuple(call.timestep for call in own)
            for expert, own in self._calls.items()
        }

    def together(self, linears: Collection[str]) -> Errors:
        """The error of each expert with all of `linears` quantised at once."""
        return {expert: self._measure(expert, linears) for expert in ExpertName}

    def alone(self, linears: Collection[str]) -> dict[str, Errors]:
        """The error of each expert with one linear quantised, for each of `linears`."""
        # Expert by expert: on a GPU only one of them is in memory.
        for expert in ExpertName:
            for name in linears:
                if (expert, name) not in self._alone:
                    self._alone[expert, name] = self._measure(expert, (name,))
        return {
            name: {expert: self._alone[expert, name] for expert in ExpertName} for name in linears
        }

    def _measure(self, expert: ExpertName, linears: Collection[str]) -> ExpertError:
        exact = self._exact.get(expert) or self._velocities(expert, ())
        self._exact[expert] = exact
        changed = self._velocities(expert, linears)
        changes = [_square(new - old) for new, old in zip(changed, exact, strict=True)]
        squares = [_square(velocity) for velocity in exact]
        calls = tuple(change / square for change, square in zip(changes, squares, strict=True))
        return ExpertError(sum(changes) / sum(squares), calls)

    def _velocities(self, expert: ExpertName, linears: Collection[str]) -> list[NDArray[Any]]:
        contexts: dict[ContextCall, Arrays] = {}
        velocities = []
        for call in self._calls[expert]:
            for context in call.contexts:
                if context not in contexts:
                    contexts[context] = self._context(expert, context, linears)
            computed = [contexts[context] for context in call.contexts]
            inputs = {name: x for arrays in (call.inputs, *computed) for name, x in arrays.items()}
            velocities.append(self._run(expert, DENOISER, inputs, linears)["velocity"])
        return velocities

    def _context(
        self, expert: ExpertName, context: ContextCall, linears: Collection[str]
    ) -> Arrays:
        """Its outputs."""
        if any(self._graphs.graph_of[name] == context.graph for name in linears):
            return self._run(expert, context.graph, context.inputs, linears)
        key = expert, context
        if key not in self._exact_contexts:
            self._exact_contexts[key] = self._run(expert, context.graph, context.inputs, ())
        return self._exact_contexts[key]

    def _run(
        self, expert: ExpertName, graph: str, inputs: Arrays, linears: Collection[str]
    ) -> Arrays:
        """The outputs of an expert's graph with those of `linears` quantised that are its own."""
        module = self._graphs.of_expert(graph, expert)
        ranges, fitted = self._scales.ranges[expert], self._scales.fitted.get(expert)
        own = (name for name in linears if self._graphs.graph_of[name] == graph)
        with fake_quantised(module, Rounding.of_graph(graph, own), ranges, fitted):
            return run_module(module, inputs, self._graphs.device_of(graph))


def _square(array: NDArray[Any]) -> float:
    return float(np.square(array, dtype=np.float64).sum())
