"""Linears that compute as at FP8, in float32: input and weight are rounded to E4M3 and back.
FP8 attention has no such counterpart yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from wan_trt.calibration.modelopt import quantise_e4m3
from wan_trt.export.modeling.module import Linear


@contextmanager
def fake_quantised(module: nn.Module, ranges: Mapping[str, float]) -> Iterator[None]:
    """Inside the block the linears that `ranges` names, with the range of their inputs, are
    quantised: weights with a scale for each output channel. One weight at a time is held twice."""
    with ExitStack() as stack:
        for name, value in ranges.items():
            linear = module.get_submodule(name)
            assert isinstance(linear, Linear)
            _Quantised(linear, value).attach(stack)
        yield


class _Quantised:
    """The hooks around one linear."""

    def __init__(self, linear: Linear, greatest: float) -> None:
        self._linear = linear
        self._greatest = greatest
        self._weight = linear.weight.data

    def attach(self, stack: ExitStack) -> None:
        before = self._linear.register_forward_pre_hook(self._enter)
        after = self._linear.register_forward_hook(self._leave, always_call=True)
        stack.callback(before.remove)
        stack.callback(after.remove)

    def _enter(self, _linear: nn.Module, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        (x,) = inputs
        self._linear.weight.data = quantise_weight(self._weight)
        return quantise_e4m3(x, torch.tensor(self._greatest, device=x.device))

    def _leave(self, _linear: nn.Module, _inputs: object, _output: object) -> None:
        self._linear.weight.data = self._weight


def quantise_weight(weight: torch.Tensor) -> torch.Tensor:
    """A matrix [in, out] rounded to E4M3 and back, each output channel by its own scale."""
    greatest = weight.abs().amax(0, keepdim=True)
    # A channel of zeros stays one at any scale.
    return quantise_e4m3(weight, torch.where(greatest > 0, greatest, 1.0))
