"""Did TensorRT make one kernel of everything that must be one? From the engine inspector's JSON.

With detailed profiling verbosity the inspector tells, of each layer, its name, kind and tactic, its
inputs and, as metadata, the ONNX nodes that it was made of:

    {"Layers": [{"Name": "_gemm_mha_v2_myl0_7", "LayerType": "kgen",
                 "TacticName": "_gemm_mha_v2_0x957a2fe2..",
                 "Inputs": [{"Name": "..", "Dimensions": [1, 64], "Datatype": "FP8", ..}], ..
                 "Metadata": "[ONNX Layer: scores]\\u001f[ONNX Layer: softmax]\\u001f.."}]}

That form is TensorRT 11's as NVIDIA's cookbook reads it and others' logs show it (docs/gpu.md says
which). Names of layers and tactics are no interface of TensorRT's: a plan that differs fails the
gate and shows its layers.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wan_trt.engine.errors import ExecutionError
from wan_trt.engine.plan_entry import FusionRecord
from wan_trt.plan.fusions import AttentionFusion, Fusions, LinearFusion

_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]|]*?)(?: \|[^\]]*)?\]")  # " | .." is a function's
_HASH = re.compile(r"0x[0-9a-f]+", re.IGNORECASE)  # of a kernel: "f8" in it means nothing
_ATTENTION_KERNEL = re.compile(r"mha|flash|multiheadattention", re.IGNORECASE)
_PRODUCT_KERNEL = re.compile(
    r"(?i:gemm|gemv|matmul|matrixmultiply|xmma)|Fc(?![a-z])"  # Myelin: __myl_FcAddCast
)
_SOFTMAX_KERNEL = re.compile(r"softmax|maxsub|expsum", re.IGNORECASE)
_FP8 = re.compile(r"fp8|e4m3|float8", re.IGNORECASE)
_FP8_OPERANDS = re.compile(r"e4m3[a-z0-9]*_e4m3|f8_f8", re.IGNORECASE)  # xmma, CUTLASS
_SHOWN = 3


@dataclass(frozen=True)
class Input:
    """What a layer reads: its type as TensorRT spells it, and how many numbers; 0: not known."""

    dtype: str
    count: int

    @property
    def is_fp8(self) -> bool:
        return bool(_FP8.search(self.dtype))


@dataclass(frozen=True)
class Layer:
    """What the inspector tells of one layer. `kernel` is its kind, its tactic, and its name where
    Myelin made that up; other names are those of ONNX nodes, which may say "attention" or "e4m3"
    themselves. `nodes` are those nodes."""

    name: str
    kernel: str
    nodes: frozenset[str]
    inputs: tuple[Input, ...]

    @property
    def is_attention(self) -> bool:
        return bool(_ATTENTION_KERNEL.search(self.kernel))

    @property
    def is_product(self) -> bool:
        return bool(_PRODUCT_KERNEL.search(self.kernel)) and not self.is_attention

    @property
    def is_softmax(self) -> bool:
        return bool(_SOFTMAX_KERNEL.search(self.kernel)) and not self.is_attention

    @property
    def reads_only_fp8(self) -> bool:
        """Whether all but scalars is FP8."""
        operands = [each for each in self.inputs if each.count != 1]
        return bool(operands) and all(each.is_fp8 for each in operands)

    def multiplies_fp8(self, count: int) -> bool:
        """Whether it is a product that reads `count` numbers of FP8. A matrix in FP8 says nothing:
        it may be widened in the kernel and meet wide inputs."""
        if _FP8_OPERANDS.search(self.kernel):
            return True
        return any(each.is_fp8 and each.count == count for each in self.inputs)

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(each.dtype for each in self.inputs)


def read_layers(text: str) -> tuple[Layer, ...]:
    """The layers in the inspector's JSON. Raises ExecutionError where it is of another form, as
    with less than detailed verbosity."""
    try:
        data = json.loads(text)
        return tuple(_layer(entry) for entry in data["Layers"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExecutionError(
            f"the engine inspector's JSON is not understood ({type(error).__name__}: {error})",
            expected='{"Layers": [{"Name": .., "Metadata": .., "Inputs": [..]}, ..]}',
            action="build with --keep and report the layers.json that is kept",
        ) from None


def inspect(layers: Sequence[Layer], fusions: Fusions, required: bool) -> FusionRecord:
    """What did not become one kernel, each with the layers that do its work."""
    made_of: Mapping[str, list[Layer]] = defaultdict(list)
    for layer in layers:
        for node in layer.nodes:
            made_of[node].append(layer)
    unfused = [fault for one in fusions.attentions if (fault := _attention_fault(one, made_of))]
    unfused += [fault for one in fusions.fp8_linears if (fault := _linear_fault(one, made_of))]
    return FusionRecord(len(fusions.attentions), len(fusions.fp8_linears), tuple(unfused), required)


def _attention_fault(attention: AttentionFusion, made_of: Mapping[str, list[Layer]]) -> str:
    """One attention kernel does it all, on FP8 operands if it is FP8; nothing else multiplies."""
    layers = {layer.name: layer for node in attention.nodes for layer in made_of.get(node, ())}
    kernels = [layer for layer in layers.values() if layer.is_attention]
    others = [layer for layer in layers.values() if layer.is_product or layer.is_softmax]
    if not layers:
        reason = "no layer mentions it"
    elif len(kernels) != 1 or others:
        reason = f"made of {_names([*kernels, *others] or [*layers.values()])}"
    elif attention.is_fp8 and not kernels[0].reads_only_fp8:
        reason = f"{kernels[0].name} reads {', '.join(kernels[0].types) or 'unknown types'}"
    else:
        return ""
    return f"attention {attention.name}: {reason}"


def _linear_fault(linear: LinearFusion, made_of: Mapping[str, list[Layer]]) -> str:
    """The layer that multiplies reads the linear's input as E4M3."""
    layers = made_of.get(linear.node, [])
    if not layers:
        return f"FP8 linear {linear.name}: no layer mentions it"
    products = [layer for layer in layers if layer.is_product]
    if products and all(layer.multiplies_fp8(linear.input_count) for layer in products):
        return ""
    shown = products or layers
    types = sorted({kind for layer in shown for kind in layer.types})
    return (
        f"FP8 linear {linear.name}: made of {_names(shown)}, "
        f"which reads {', '.join(types) or 'unknown types'}"
    )


def _layer(entry: Mapping[str, Any]) -> Layer:
    name = str(entry["Name"])
    # Not every layer has a tactic, and Myelin's kernels have their kind in the name.
    told = [entry.get("LayerType", ""), entry.get("TacticName", "")]
    kernel = " ".join(map(str, [*told, name] if name.startswith("_") else told))
    return Layer(
        name,
        _HASH.sub("", kernel),
        frozenset(_ONNX_NODE.findall(str(entry.get("Metadata", "")))),
        tuple(_input(tensor) for tensor in entry.get("Inputs", ())),
    )


def _input(tensor: Mapping[str, Any]) -> Input:
    """The element type is `Datatype` in 11.x, in its documentation `DataType`, and in 10.x one text
    with the format, `Format/Datatype`."""
    kinds = [kind for key, kind in tensor.items() if key.lower().endswith("datatype")]
    dimensions = tensor.get("Dimensions")
    count = 0 if dimensions is None else math.prod(int(size) for size in dimensions)
    return Input(str(kinds[0]) if kinds else "", count)


def _names(layers: Sequence[Layer]) -> str:
    shown = ", ".join(layer.name for layer in layers[:_SHOWN])
    return f"{shown} and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else shown
