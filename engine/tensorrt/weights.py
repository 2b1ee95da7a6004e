"""Parameters mapped from their files: TensorRT reads them where they are, nothing is copied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from wan_trt.engine.errors import BundleError
from wan_trt.engine.tensorrt.logger import Logger


class MappedWeights:
    """The bytes of every parameter. They must outlive whatever they were handed to."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """Raises BundleError where a file cannot be mapped."""
        self._bytes: dict[str, NDArray[np.uint8]] = {}
        for name, file in files.items():
            try:
                self._bytes[name] = np.memmap(Path(file), np.uint8, "r")
            except (OSError, ValueError) as error:
                raise BundleError(
                    f"{file}, the parameter {name}, cannot be mapped ({error})",
                    action="copy or export the bundle again",
                ) from None

    def hand_to(self, parser: trt.OnnxParser | trt.OnnxParserRefitter, logger: Logger) -> None:
        """Give every parameter to a parser that has loaded the graph, which must have them all."""
        for name, data in self._bytes.items():
            if not parser.load_initializer(name, data.ctypes.data, data.nbytes):
                raise logger.failure(f"giving {name} to TensorRT", "export the bundle again")
