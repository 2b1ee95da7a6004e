"""A whole-body pose network: `pose2d/vitpose_h_wholebody.onnx` of the checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wan_trt.preprocess.detection.heat_maps import decode_heat_maps
from wan_trt.preprocess.detection.pose_crop import pose_crop, pose_input
from wan_trt.preprocess.keypoints import POINTS
from wan_trt.preprocess.networks.onnx_network import NetworkDevice, OnnxNetwork
from wan_trt.preprocess.networks.yolo import INSTEAD

_DEFAULT_SIZE = (256, 192)


class VitPose:
    """A PoseEstimator.

    One input [batch, 3, height, width], float32, normalised, in BGR (see `pose_input`); one output
    [batch, 133, rows, columns] of heat maps.
    """

    def __init__(self, path: Path, device: NetworkDevice = NetworkDevice.CPU) -> None:
        self._network = OnnxNetwork(path, "the whole-body pose network (ViTPose)", INSTEAD, device)
        self._size = self._network.picture_size(_DEFAULT_SIZE)
        shapes = list(self._network.outputs.values())
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (POINTS, None):
            raise self._network.unusable(
                f"its outputs are {self._network.outputs}", f"[batch, {POINTS}, rows, columns]"
            )

    def points(
        self, frames: NDArray[np.uint8], people: Sequence[NDArray[np.float64] | None]
    ) -> NDArray[np.float64]:
        """See PoseEstimator.points."""
        height, width = self._size
        size = frames.shape[1], frames.shape[2]
        crops = [pose_crop(person, size, height / width) for person in people]
        pictures = np.stack(
            [
                pose_input(frame, crop, height, width)
                for frame, crop in zip(frames, crops, strict=True)
            ]
        )
        maps = self._network.run_batch(pictures)
        if maps.shape[1] != POINTS:
            raise self._network.unusable(f"it makes {maps.shape[1]} heat maps", f"{POINTS}")
        return np.stack(
            [decode_heat_maps(heat, crop) for heat, crop in zip(maps, crops, strict=True)]
        )
