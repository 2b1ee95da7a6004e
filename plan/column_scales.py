"""The columns' scales of E4M3 matrices, taken behind the product.

    DQ(input8, s) x DQ(matrix8, scales)  =  (DQ(input8, s) x DQ(matrix8, 1)) * scales

TensorRT multiplies E4M3 by E4M3 where each scale is one number. Where a matrix has one for each
column that is not sure (docs/gpu.md): it may widen both operands and gain nothing. Such a scale is
a factor of a column of the result, so it may come after the product, in float32. The scales stay
the tensors that they were, with their names. Where the other operand is not rounded they stay in
front: that product is bfloat16 anyhow.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import numpy_helper

from wan_trt.plan.static_graph import StaticGraph, TensorType, attribute_values

_ONE = "one_scale"
_COLUMNS = 1  # of a matrix [in, out], the axis


def with_column_scales_behind(graph: StaticGraph) -> StaticGraph:
    """`graph` with a Mul behind each product of two rounded operands of which the second has a
    scale for each column. Names of nodes, of initializers and of products' results stay."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    types = dict(graph.types)
    makers = {name: node for node in model.graph.node for name in node.output}
    uses = Counter(name for node in model.graph.node for name in node.input)
    found = list(model.graph.node)
    behind: dict[str, onnx.NodeProto] = {}  # by what it scales
    for product in found:
        if product.op_type != "MatMul":
            continue
        widened = [makers.get(name) for name in product.input]
        if any(node is None or node.op_type != "DequantizeLinear" for node in widened):
            continue
        matrix = widened[1]
        if matrix is None or uses[product.input[1]] != 1 or not _is_by_column(matrix, types):
            continue
        scales, result = matrix.input[1], product.output[0]
        matrix.input[1] = _ONE
        del matrix.attribute[:]
        product.output[0] = f"{result}_unscaled"
        types[product.output[0]] = types[result]
        behind[product.output[0]] = onnx.helper.make_node(
            "Mul", [product.output[0], scales], [result], name=f"{product.name}.column_scales"
        )
    if not behind:
        return graph
    one = numpy_helper.from_array(np.array(1, np.float32), _ONE)
    model.graph.initializer.append(one)
    types[_ONE] = TensorType(one.data_type, ())
    nodes = [n for node in found for n in (node, behind.get(node.output[0])) if n is not None]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return StaticGraph(graph.name, model, types)


def _is_by_column(node: onnx.NodeProto, types: dict[str, TensorType]) -> bool:
    """Whether a DequantizeLinear has a scale for each column of a matrix."""
    matrix, scales = (types[name].shape for name in node.input[:2])
    axis = attribute_values(node).get("axis", 1)
    return len(matrix) == 2 and scales == (matrix[_COLUMNS],) and axis in (_COLUMNS, -1)
