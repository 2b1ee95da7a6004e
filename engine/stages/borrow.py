"""Bindings for a moment: their tensors are given back when the work is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from wan_trt.engine.executor import Bindings, Executor
from wan_trt.engine.memory.layout import Layout, shapes_of
from wan_trt.engine.memory.tensors import TensorMemory
from wan_trt.engine.stages.conditioning import Tensors

MOMENT = "moment"
"""The kind of memory: stages take turns with it."""


@contextmanager
def borrowed_bindings(
    memory: TensorMemory,
    executor: Executor,
    sizes: Mapping[str, int],
    holder: str,
    given: Tensors | None = None,
) -> Iterator[Bindings]:
    """`given` are tensors that exist; all others are borrowed while the block runs."""
    existing = dict(given or {})
    shapes = shapes_of((*executor.spec.inputs, *executor.spec.outputs), sizes)
    missing = Layout({name: shape for name, shape in shapes.items() if name not in existing})
    with memory.hold(MOMENT, holder, missing) as holding:
        yield executor.bind(sizes, {**existing, **holding.tensors})
