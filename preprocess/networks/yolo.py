"""A YOLO person detector: `det/yolov10m.onnx` of the checkpoint, or any of its kind."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.detection.person_boxes import People, detector_input, people_in
from wan_trt.preprocess.networks.onnx_network import NetworkDevice, OnnxNetwork

INSTEAD: Final = "give --keypoints FILE"
_DEFAULT_SIZE = (640, 640)


class YoloDetector:
    """A PersonDetector.

    One input [batch, 3, height, width], float32 RGB in 0..1; one output [batch, n, 6] of corners,
    score and class, or [batch, 84, n] of box and class scores.
    """

    def __init__(self, path: Path, device: NetworkDevice = NetworkDevice.CPU) -> None:
        self._network = OnnxNetwork(path, "the person detector (YOLOv10)", INSTEAD, device)
        self._size = self._network.picture_size(_DEFAULT_SIZE)
        if len(self._network.outputs) != 1:
            raise self._network.unusable(
                f"its outputs are {', '.join(self._network.outputs)}", "one output"
            )

    def people(self, frames: NDArray[np.uint8]) -> list[People]:
        """See PersonDetector.people."""
        output = self._network.run_batch(
            np.stack([detector_input(frame, *self._size) for frame in frames])
        )
        size = frames.shape[1], frames.shape[2]
        try:
            return [people_in(detections, size, self._size) for detections in output]
        except ValueError as error:
            raise self._network.unusable(str(error)) from error
