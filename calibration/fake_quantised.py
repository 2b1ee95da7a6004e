"""Linears that compute as at FP8, in float32: input and weight are rounded to E4M3 and back.
FP8 attention has no such counterpart yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from wan_trt.calibration.fitting import rounded
from wan_trt.calibration.modelopt import quantise_e4m3
from wan_trt.export.modeling.module import Linear
from wan_trt.export.quantize.fitted import Fitted


@contextmanager
def fake_quantised(
    module: nn.Module, ranges: Mapping[str, float], fitted: Mapping[str, Fitted] | None = None
) -> Iterator[None]:
    """Inside the block the linears that `ranges` names, with the range of their inputs, are
    quantised: weights with a scale for each output channel, as `fitted` has it, or by its greatest
    magnitude. One weight at a time is held twice."""
    with ExitStack() as stack:
        for name, value in ranges.items():
            linear = module.get_submodule(name)
            assert isinstance(linear, Linear)
            _Quantised(linear, value, (fitted or {}).get(name)).attach(stack)
        yield


class _Quantised:
    """The hooks around one linear."""

    def __init__(self, linear: Linear, greatest: float, fitted: Fitted | None) -> None:
        self._linear = linear
        self._greatest = greatest
        self._weight = linear.weight.data
        self._fitted = fitted

    def attach(self, stack: ExitStack) -> None:
        before = self._linear.register_forward_pre_hook(self._enter)
        after = self._linear.register_forward_hook(self._leave, always_call=True)
        stack.callback(before.remove)
        stack.callback(after.remove)

    def _enter(self, _linear: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        (x,) = inputs
        fitted = self._fitted
        self._linear.weight.data = rounded(
            self._weight,
            self._weight.abs().amax(0)
            if fitted is None
            else torch.from_numpy(fitted.column_ranges).to(x.device),
        )
        return quantise_e4m3(x, torch.tensor(self._greatest, device=x.device))

    def _leave(
        self, _linear: nn.Module, _inputs: object, output: torch.Tensor | None
    ) -> torch.Tensor | None:
        self._linear.weight.data = self._weight
        if output is None or self._fitted is None or self._fitted.bias_shift is None:
            return output
        return output + torch.from_numpy(self._fitted.bias_shift).to(output.device)
