"""Weightless ONNX export: a module's graph without its weights, whatever their size.

The module is traced under FakeTensorMode, so a 14B model costs no more memory than a small one.
Initializers keep the names of the module's parameters; `weights.py` gives them data.
"""

from __future__ import annotations

import gc
import inspect
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim

from wan_trt.engine.executor import TensorSpec, parse_dimension
from wan_trt.export.modeling.module import ExportModule
from wan_trt.export.simplify import simplify
from wan_trt.export.trace_cache import traced_once

OPSET = 23

_DTYPES = {"float32": torch.float32, "int64": torch.int64}

_LOUD = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def trace(module: ExportModule) -> onnx_ir.Model:
    """The module as an ONNX model (opset 23); its parameters have shapes but no data."""
    with _quiet(), _no_collection():
        return traced_once(module, _trace)


def _trace(module: ExportModule) -> onnx_ir.Model:
    symbols = {name: Dim(name, min=1) for name in module.example_sizes}
    shapes = [
        {
            axis: _symbolic(dimension, symbols)
            for axis, dimension in enumerate(spec.dimensions)
            if isinstance(dimension, str)
        }
        for spec in module.spec.inputs
    ]
    with FakeTensorMode(allow_non_fake_inputs=True):
        traced = torch.export.export(
            module.eval(),
            tuple(_example(spec, module) for spec in module.spec.inputs),
            dynamic_shapes=_by_parameter(module, shapes),
            strict=False,
        )
        # Every operator our modules use has an ONNX translation of its own, so decomposing them
        # first would only trace everything once more: half of the time.
        traced.run_decompositions = lambda *_: traced
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            optimize=False,
            verbose=False,
            input_names=[spec.name for spec in module.spec.inputs],
            output_names=[spec.name for spec in module.spec.outputs],
        )
    if program is None:
        raise RuntimeError(f"the exporter gave no program for {type(module).__name__}")
    model = program.model
    parameters = set(module.state_dict())
    for name, value in model.graph.initializers.items():
        if name in parameters:
            value.const_value = None  # a FakeTensor: the optimiser must not look into it
    simplify(model)
    for value, spec in zip(model.graph.outputs, module.spec.outputs, strict=True):
        value.shape = onnx_ir.Shape(spec.dimensions)
    _clear_metadata(model)
    if lost := parameters - set(model.graph.initializers):
        raise RuntimeError(f"parameters without use in {type(module).__name__}: {sorted(lost)}")
    return model


def _clear_metadata(model: onnx_ir.Model) -> None:
    """Drop stack traces of the machine that exported, and what the exporter says of itself: its
    ranges of the symbols stand in another order each time, and equal modules are to give equal
    files."""
    model.graph.metadata_props.clear()
    model.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings of the exporter's own deprecations, shared symbols and absent weights."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _no_collection() -> Iterator[None]:
    """A trace only ever adds objects: collecting among them costs a seventh of its time and frees
    little (40 MB at the full size)."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _by_parameter(module: ExportModule, shapes: list[dict[int, Any]]) -> tuple[Any, ...]:
    """One entry for each parameter of `forward`; what `*caches` takes is a tuple of its own."""
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    named = sum(kind is not inspect.Parameter.VAR_POSITIONAL for kind in kinds)
    rest = tuple(shapes[named:])
    return (*shapes[:named], rest) if rest else tuple(shapes)


def _example(spec: TensorSpec, module: ExportModule) -> torch.Tensor:
    return torch.zeros(spec.shape(module.example_sizes), dtype=_DTYPES[spec.dtype])


def _symbolic(dimension: str, symbols: dict[str, Any]) -> Any:
    factor, name, offset = parse_dimension(dimension)
    term = symbols[name] if factor == 1 else factor * symbols[name]
    return term + offset if offset else term
