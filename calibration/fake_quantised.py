"""Linears that compute as in an FP8 bundle, in float32: what is E4M3 there is rounded and widened
again. FP8 attention has no such counterpart yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from wan_trt.export.modeling.module import Linear
from wan_trt.export.quantize.e4m3 import input_scale, rounded, scales_for
from wan_trt.export.quantize.fitted import Fitted
from wan_trt.export.quantize.rounding import Rounding


@contextmanager
def fake_quantised(
    module: nn.Module,
    rounding: Rounding,
    ranges: Mapping[str, float],
    fitted: Mapping[str, Fitted] | None = None,
) -> Iterator[None]:
    """Inside the block the linears of `rounding` are quantised: weights with a scale for each
    output channel, as `fitted` has it, or by its greatest magnitude; inputs that are rounded by
    their `ranges`. One weight at a time is held twice."""
    with ExitStack() as stack:
        for name in rounding.weights:
            linear = module.get_submodule(name)
            assert isinstance(linear, Linear)
            greatest = ranges[name] if name in rounding.inputs else None
            _Quantised(linear, greatest, (fitted or {}).get(name)).attach(stack)
        yield


class _Quantised:
    """The hooks around one linear."""

    def __init__(self, linear: Linear, greatest: float | None, fitted: Fitted | None) -> None:
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
        scales = (
            scales_for(self._weight.abs().amax(0))
            if self._fitted is None
            else torch.from_numpy(self._fitted.column_scales).to(x.device)
        )
        self._linear.weight.data = rounded(self._weight, scales)
        if self._greatest is None:
            return x
        return rounded(x, input_scale(self._greatest).to(x.device))

    def _leave(
        self, _linear: nn.Module, _inputs: object, output: torch.Tensor | None
    ) -> torch.Tensor | None:
        self._linear.weight.data = self._weight
        if output is None or self._fitted is None or self._fitted.bias_shift is None:
            return output
        return output + torch.from_numpy(self._fitted.bias_shift).to(output.device)
