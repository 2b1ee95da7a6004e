"""Runs an export module without holding its weights: each layer's are read when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from wan_trt.export.modeling.module import ExportModule, WeightRule
from wan_trt.export.precision import TORCH_DTYPES
from wan_trt.export.tensors import TensorSource


@contextmanager
def streamed(
    module: ExportModule, source: TensorSource, dtypes: Mapping[str, str]
) -> Iterator[None]:
    """Inside, every layer of `module` has its parameters while it runs and not longer: float32,
    rounded to `dtypes` as the bundle stores them.

    Of an embedding only the rows are read that are asked for.
    """
    rules = module.rules()
    hooks = []
    for name, layer in module.named_modules():
        own = {key for key, _ in layer.named_parameters(recurse=False)}
        if not own:
            continue
        names = {key: f"{name}.{key}" if name else key for key in own}
        if isinstance(layer, nn.Embedding):
            table = names["weight"]
            lookup = _Lookup(source, rules[table], TORCH_DTYPES[dtypes[table]])
            hooks.append(layer.register_forward_pre_hook(lookup.read))
            hooks.append(layer.register_forward_hook(_drop))
        else:
            layer_rules = {key: (rules[full], dtypes[full]) for key, full in names.items()}
            hooks.append(layer.register_forward_pre_hook(_Load(source, layer_rules)))
            hooks.append(layer.register_forward_hook(_drop))
    try:
        with torch.no_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()


class _Load:
    """Fills a layer's own parameters."""

    def __init__(self, source: TensorSource, rules: Mapping[str, tuple[WeightRule, str]]) -> None:
        self._source = source
        self._rules = rules

    def __call__(self, layer: nn.Module, inputs: Any) -> None:
        del inputs
        for key, (rule, dtype) in self._rules.items():
            value = rule.apply(self._source).to(TORCH_DTYPES[dtype]).to(torch.float32)
            setattr(layer, key, nn.Parameter(value.contiguous(), requires_grad=False))


class _Lookup:
    """Makes an embedding's table of the rows that are asked for, and the ids their places."""

    def __init__(self, source: TensorSource, rule: WeightRule, dtype: torch.dtype) -> None:
        (self._name,) = rule.sources
        self._source = source
        self._dtype = dtype

    def read(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        ids, places = torch.unique(inputs[0], return_inverse=True)
        rows = [self._source.read(self._name, slice(int(i), int(i) + 1)) for i in ids]
        table = torch.cat(rows).to(self._dtype).to(torch.float32)
        layer.weight = nn.Parameter(table, requires_grad=False)
        return (places,)


def _drop(layer: nn.Module, inputs: Any, output: Any) -> None:
    """Let go of a layer's own parameters."""
    del inputs, output
    for key, _ in list(layer.named_parameters(recurse=False)):
        setattr(layer, key, nn.Parameter(torch.empty(0), requires_grad=False))
