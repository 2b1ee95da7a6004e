"""Cubic Resize nodes as two products: TensorRT's parser documents `nearest` and `linear` only.

Every row of the result is a weighted sum of four rows of the source, and so is every column:

    [channels, height, width] -> rows [new_height, height] @ x @ columns [width, new_width]
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from wan_trt.plan.static_graph import StaticGraph, TensorType, attribute_values

_TAPS = (-1, 0, 1, 2)


def write_out_resizes(graph: StaticGraph) -> StaticGraph:
    """`graph` with every cubic Resize over its last two axes as products."""
    if not any(_is_plain_cubic(node) for node in graph.model.graph.node):
        return graph
    return graph.rewritten(_write)


def _write(new: onnx.GraphProto, types: dict[str, TensorType], node: onnx.NodeProto) -> None:
    if not _is_plain_cubic(node):
        new.node.append(node)
        return
    source, result = node.input[0], node.output[0]
    *outer, height, width = types[source].shape
    *_, new_height, new_width = types[result].shape
    coefficient = attribute_values(node).get("cubic_coeff_a", -0.75)
    rows, columns = f"{node.name}.rows", f"{node.name}.columns"
    for name, matrix in (
        (rows, cubic_matrix(height, new_height, coefficient)),
        (columns, cubic_matrix(width, new_width, coefficient).T),
    ):
        new.initializer.append(numpy_helper.from_array(np.ascontiguousarray(matrix), name))
        types[name] = TensorType(onnx.TensorProto.FLOAT, matrix.shape)
    narrowed = f"{node.name}.narrowed"
    types[narrowed] = TensorType(onnx.TensorProto.FLOAT, (*outer, height, new_width))
    new.node.extend(
        [
            onnx.helper.make_node("MatMul", [source, columns], [narrowed], name=narrowed),
            onnx.helper.make_node("MatMul", [rows, narrowed], [result], name=node.name),
        ]
    )


def cubic_matrix(count: int, new_count: int, coefficient: float) -> NDArray[np.float32]:
    """float32 [new_count, count]: cubic interpolation along one axis, pixels as areas
    (`half_pixel`), the outermost ones repeated outwards, with Keys' kernel as ONNX defines it."""
    places = (np.arange(new_count) + 0.5) * (count / new_count) - 0.5
    first = np.floor(places)
    matrix = np.zeros((new_count, count))
    for tap in _TAPS:
        index = np.clip(first + tap, 0, count - 1).astype(np.int64)
        weight = _kernel(np.abs(places - (first + tap)), coefficient)
        np.add.at(matrix, (np.arange(new_count), index), weight)
    return matrix.astype(np.float32)


def _kernel(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


def _is_plain_cubic(node: onnx.NodeProto) -> bool:
    if node.op_type != "Resize":
        return False
    told = attribute_values(node)
    return (
        told.get("mode") == b"cubic"
        and told.get("coordinate_transformation_mode") == b"half_pixel"
        and not told.get("antialias")
        and not told.get("exclude_outside")
    )
