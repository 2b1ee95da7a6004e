"""Did TensorRT make one kernel of everything that must be one? From the engine inspector's JSON.

With detailed profiling verbosity the inspector tells, of each layer, its name, its tactic, types of
its inputs and, as metadata, the ONNX nodes that it was made of:

    {"Layers": [{"Name": "_gemm_mha_v2_myl0_7", "TacticName": "..",
                 "Inputs": [{"Name": "..", "DataType": "BFloat16", ..}], "Outputs": [..],
                 "Metadata": "[ONNX Layer: node_attention__3]\\u001e[ONNX Layer: ..]"}]}

Names of layers and tactics are no interface of TensorRT's. What says "attention" and "FP8" here is
taken from documentation and others' logs; a plan that differs fails the gate and shows its layers.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wan_trt.engine.errors import ExecutionError
from wan_trt.engine.plan_entry import FusionRecord
from wan_trt.plan.fusions import AttentionFusion, Fusions, LinearFusion

_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_ATTENTION_KERNEL = re.compile(r"mha|flash", re.IGNORECASE)
_PRODUCT_KERNEL = re.compile(r"gemm|gemv|matmul|matrixmultiply|xmma|_fc", re.IGNORECASE)
_SOFTMAX_KERNEL = re.compile(r"softmax|maxsub|expsum", re.IGNORECASE)
_FP8 = re.compile(r"fp8|e4m3|f8", re.IGNORECASE)
_SHOWN = 3


@dataclass(frozen=True)
class Layer:
    """What the inspector tells of one layer. `kernel` is its name, kind and tactic without names of
    ONNX nodes, which may say "attention" or "e4m3" themselves; `nodes` are those nodes."""

    name: str
    kernel: str
    tactic: str
    nodes: frozenset[str]
    input_types: tuple[str, ...]

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
    def reads_fp8(self) -> bool:
        return any(_FP8.search(text) for text in (*self.input_types, self.tactic))


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
    elif attention.is_fp8 and not kernels[0].reads_fp8:
        reason = f"{kernels[0].name} reads {', '.join(kernels[0].input_types) or 'unknown types'}"
    else:
        return ""
    return f"attention {attention.name}: {reason}"


def _linear_fault(linear: LinearFusion, made_of: Mapping[str, list[Layer]]) -> str:
    """The layer that multiplies reads E4M3."""
    layers = made_of.get(linear.node, [])
    if not layers:
        return f"FP8 linear {linear.name}: no layer mentions it"
    products = [layer for layer in layers if layer.is_product]
    if products and all(layer.reads_fp8 for layer in products):
        return ""
    shown = products or layers
    types = sorted({kind for layer in shown for kind in layer.input_types})
    return (
        f"FP8 linear {linear.name}: made of {_names(shown)}, "
        f"which reads {', '.join(types) or 'unknown types'}"
    )


def _layer(entry: Mapping[str, Any]) -> Layer:
    name = str(entry["Name"])
    nodes = frozenset(_ONNX_NODE.findall(str(entry.get("Metadata", ""))))
    # Not every layer has a tactic, and Myelin's kernels have their kind in the name.
    kernel = " ".join(str(entry.get(key, "")) for key in ("Name", "LayerType", "TacticName"))
    for node in sorted(nodes, key=len, reverse=True):
        kernel = kernel.replace(node, "")
    types = tuple(_type(tensor) for tensor in entry.get("Inputs", ()))
    return Layer(name, kernel, str(entry.get("TacticName", "")), nodes, types)


def _type(tensor: Mapping[str, Any]) -> str:
    """The element type of a tensor; 10.x had it in one text with the format."""
    return str(tensor.get("DataType", tensor.get("Format/Datatype", "")))


def _names(layers: Sequence[Layer]) -> str:
    shown = ", ".join(layer.name for layer in layers[:_SHOWN])
    return f"{shown} and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else shown
