"""What every export-shaped module provides beside `forward`: its interface and its weights.

A module is built on sizes alone and never sees a checkpoint. `rules()` says, for each of its
parameters and buffers, which checkpoint tensors it is made of and how, so that weights can be
streamed one by one, folded with LoRAs on the way, and counted: a checkpoint tensor that no rule
names is an error.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import nn

from wan_trt.engine.executor import GraphSpec
from wan_trt.export.tensors import TensorSource


def same(tensor: torch.Tensor) -> torch.Tensor:
    """As the checkpoint has it."""
    return tensor


@dataclass(frozen=True)
class WeightRule:
    """A parameter as a function of checkpoint tensors (float32). No sources: a constant."""

    sources: tuple[str, ...]
    make: Callable[..., torch.Tensor] = same

    @property
    def moves_only(self) -> bool:
        """Whether the values are the checkpoint's own: it may be applied before or after
        rounding."""
        return self.make in (same, transpose)

    def apply(self, source: TensorSource) -> torch.Tensor:
        return self.make(*(source.read(name) for name in self.sources))


class ExportModule(nn.Module):
    """A graph of the bundle.

    `spec` gives the tensors of `forward` in order, dimensions as numbers or symbols.
    `example_sizes` gives a value >= 2 for every symbol, all different where possible, so that
    tracing cannot mistake one for another. `precise` modules are float32 in every bundle.
    """

    spec: GraphSpec
    example_sizes: Mapping[str, int]
    precise: ClassVar[bool] = False

    @abstractmethod
    def rules(self) -> dict[str, WeightRule]:
        """A rule for every name in `state_dict()`."""

    def load(self, source: TensorSource) -> None:
        """Fill the parameters from a source, in eager mode: for tests and calibration."""
        rules = self.rules()
        for name, tensor in self.state_dict(keep_vars=True).items():
            value = rules[name].apply(source)
            if tuple(value.shape) != tuple(tensor.shape):
                raise ValueError(f"{name}: rule gives {tuple(value.shape)}, not {tensor.shape}")
            tensor.data = value.contiguous()
        self.requires_grad_(False)

    def empty_on(self, device: torch.device | str) -> Self:
        """A copy whose parameters have the same shapes on another device, and no values yet: a
        planned module's are fakes."""
        memo: dict[int, Any] = {}
        for tensor in self.state_dict(keep_vars=True).values():
            empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if is_parameter else empty
        return copy.deepcopy(self, memo)


class Linear(nn.Module):
    """x @ weight + bias with the weight stored [in, out]: exports as MatMul + Add, no Transpose."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


def transpose(tensor: torch.Tensor) -> torch.Tensor:
    """[out, in] of the checkpoint -> [in, out] of `Linear`."""
    return tensor.t()


def default_rules(module: nn.Module, prefix: str = "") -> dict[str, WeightRule]:
    """Same name with `prefix` in front; weights of `Linear` transposed."""
    linears = {
        f"{name}.weight" for name, child in module.named_modules() if isinstance(child, Linear)
    }
    return {
        name: WeightRule((prefix + name,), transpose if name in linears else same)
        for name in module.state_dict()
    }
