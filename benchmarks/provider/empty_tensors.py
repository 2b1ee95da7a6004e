"""Tensors of an interface at addresses of the host: nobody computes with what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.executor import GraphSpec


def empty_tensors(
    spec: GraphSpec, sizes: Mapping[str, int]
) -> tuple[list[NDArray[Any]], dict[str, DeviceTensor]]:
    """Memory, which is to be kept and is not touched, and the tensors in it by name."""
    specs = (*spec.inputs, *spec.outputs)
    arrays = [np.zeros(tensor.shape(sizes), tensor.dtype) for tensor in specs]
    tensors = {
        tensor.name: DeviceTensor(array.ctypes.data, array.shape, array.dtype.name)
        for tensor, array in zip(specs, arrays, strict=True)
    }
    return arrays, tensors
