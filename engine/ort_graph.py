"""What of a bundle's standard graph is put differently to ONNX Runtime.

The CPU provider's kernel for the standard Attention operator writes the whole score matrix to
memory; the one for ONNX Runtime's own MultiHeadAttention works through it block by block and is up
to twice as fast at video lengths, with the same result; a GPU's provider has had it for longer.
Only the graph in memory changes, never the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx.external_data_helper import uses_external_data

from wan_trt.engine.errors import BundleError

_DOMAIN = "com.microsoft"
_QUERY_KEY_VALUE = 3
_PLAIN = {"q_num_heads", "kv_num_heads"}


def session_graph(path: Path, files: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """The graph in `path`, without its weights, as ONNX Runtime runs it fastest. `files` says
    where each parameter's data lie, if not where the graph says.

    Raises what `onnx.load` raises for a file that is no graph, and BundleError for a parameter
    that has no file.
    """
    model = onnx.load(str(path), load_external_data=False)
    if files is not None:
        for parameter in filter(uses_external_data, model.graph.initializer):
            _place(parameter, files, path)
    changed = [_use_blockwise_attention(node) for node in model.graph.node]
    if any(changed):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    return model


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
