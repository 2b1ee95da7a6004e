"""What of a bundle's standard graph is put differently to ONNX Runtime. Only the graph in memory
changes, never the bundle.

The CPU provider's kernel for the standard Attention operator writes the whole score matrix to
memory; the one for ONNX Runtime's own MultiHeadAttention works through it block by block and is up
to twice as fast at video lengths, with the same result. The CUDA provider has flash attention
behind the standard operator, and for 16-bit operands behind that alone.

Bundles compute in float32 for the CPU provider. The CUDA provider is given the products and
attentions of what is stored as less in bfloat16, as TensorRT is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import shape_inference
from onnx.external_data_helper import uses_external_data

from wan_trt.engine.bfloat16_products import stores_narrow, with_bfloat16_products
from wan_trt.engine.errors import BundleError
from wan_trt.engine.ort_widening import widen_when_needed

_DOMAIN = "com.microsoft"
_QUERY_KEY_VALUE = 3
_PLAIN = {"q_num_heads", "kv_num_heads"}


def graph_for_cpu(path: Path, files: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """The graph in `path`, without its weights, as the CPU provider runs it fastest. `files` says
    where each parameter's data lie, if not where the graph says.

    Raises what `onnx.load` raises for a file that is no graph, and BundleError for a parameter
    that has no file.
    """
    model = _load(path, files)
    changed = [_use_blockwise_attention(node) for node in model.graph.node]
    if any(changed):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    return model


def graph_for_cuda(path: Path, files: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """The graph in `path` as the CUDA provider runs it fastest; see `graph_for_cpu`.

    Its QuantizeLinear and DequantizeLinear have no bfloat16 kernels: those stay float32. What is
    stored narrow is widened when it is needed.
    """
    model = _load(path, files)
    if not stores_narrow(model):
        return model
    types = _tensor_types(model, path)
    changes = with_bfloat16_products(
        model.graph,
        {name: kind.elem_type for name, kind in types.items()},
        frozenset(name for name, kind in types.items() if _has_one_row(kind)),
        rounds_bfloat16=False,
    )
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(changes.nodes)
    widen_when_needed(model)
    return model


def _load(path: Path, files: Mapping[str, str] | None) -> onnx.ModelProto:
    model = onnx.load(str(path), load_external_data=False)
    if files is not None:
        for parameter in filter(uses_external_data, model.graph.initializer):
            _place(parameter, files, path)
    return model


def _tensor_types(model: onnx.ModelProto, path: Path) -> dict[str, onnx.TypeProto.Tensor]:
    """Of every tensor; sizes as far as they are numbers."""
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True).graph
    except shape_inference.InferenceError as error:
        raise BundleError(
            f"{path} makes no sense: {' '.join(str(error).split())}",
            action="copy or export the bundle again",
        ) from None
    types = {
        tensor.name: onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims).tensor_type
        for tensor in inferred.initializer
    }
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        types[value.name] = value.type.tensor_type
    return types


def _has_one_row(kind: onnx.TypeProto.Tensor) -> bool:
    sides = kind.shape.dim
    return len(sides) > 1 and math.prod(side.dim_value for side in sides[:-1]) == 1


def _use_blockwise_attention(node: onnx.NodeProto) -> bool:
    """Replace an Attention over [batch, tokens, dim] that has no mask and no options."""
    if node.op_type != "Attention" or node.domain or len(node.input) != _QUERY_KEY_VALUE:
        return False
    heads = {attribute.name: attribute.i for attribute in node.attribute}
    if set(heads) != _PLAIN or heads["q_num_heads"] != heads["kv_num_heads"]:
        return False
    del node.attribute[:]
    node.op_type, node.domain = "MultiHeadAttention", _DOMAIN
    node.attribute.append(onnx.helper.make_attribute("num_heads", heads["q_num_heads"]))
    return True


def _place(parameter: onnx.TensorProto, files: Mapping[str, str], path: Path) -> None:
    if parameter.name not in files:
        raise BundleError(
            f"{path} has a parameter {parameter.name} that the manifest does not list",
            action="export the bundle again",
        )
    location = onnx.StringStringEntryProto(key="location", value=files[parameter.name])
    others = [entry for entry in parameter.external_data if entry.key != "location"]
    del parameter.external_data[:]
    parameter.external_data.extend([location, *others])
