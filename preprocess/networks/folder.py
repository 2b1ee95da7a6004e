"""Where the networks of the preprocessing lie."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.preprocess.networks.onnx_network import FIELD, NetworkDevice
from wan_trt.preprocess.networks.sam2 import GRAPHS, Sam2
from wan_trt.preprocess.networks.vitpose import VitPose
from wan_trt.preprocess.networks.yolo import YoloDetector

_IN_A_CHECKPOINT = "process_checkpoint"
_DETECTOR = "det/yolov10m.onnx"
_POSE = "pose2d/vitpose_h_wholebody.onnx"
_SAM2 = "sam2"
_LOADING = threading.Lock()  # each network once, whoever asks for it at the same time


@dataclass(frozen=True)
class NetworkFolder:
    """The folder `process_checkpoint` of a Wan2.2-Animate checkpoint, or one laid out as it.

    det/yolov10m.onnx, pose2d/vitpose_h_wholebody.onnx, and for masks sam2/ with the four graphs of
    `sam2.GRAPHS` (the checkpoint has SAM2 in another format). A network is loaded when it is first
    asked for; that raises InputError naming a file that is missing.
    """

    path: Path
    device: NetworkDevice = NetworkDevice.CPU

    @classmethod
    def find(cls, path: Path, device: NetworkDevice = NetworkDevice.CPU) -> NetworkFolder:
        """`path` is the folder or the checkpoint around it. Raises InputError for no folder."""
        if not path.is_dir():
            raise InputError(
                f"{path} is no folder",
                expected=f"a checkpoint's {_IN_A_CHECKPOINT}",
                action="correct the path, or give --keypoints FILE",
                field=FIELD,
            )
        inner = path / _IN_A_CHECKPOINT
        return cls(inner if inner.is_dir() else path, device)

    def detector(self) -> YoloDetector:
        with _LOADING:
            return self._detector

    @cached_property
    def _detector(self) -> YoloDetector:
        return YoloDetector(self.path / _DETECTOR, self.device)

    def pose(self) -> VitPose:
        with _LOADING:
            return self._pose

    @cached_property
    def _pose(self) -> VitPose:
        return VitPose(self.path / _POSE, self.device)

    def outlines(self) -> Sam2:
        with _LOADING:
            return self._outlines

    @cached_property
    def _outlines(self) -> Sam2:
        return Sam2(self.path / _SAM2, self.device)

    @property
    def has_people(self) -> bool:
        """Whether the files are there that find people and their key points."""
        return self._missing is None

    def require_people(self) -> None:
        """Raises InputError where they are not."""
        if self._missing is not None:
            raise InputError(
                f"{self.path / self._missing} is missing",
                expected=f"{_DETECTOR} and {_POSE}",
                action="copy it there, or correct the path",
                field=FIELD,
            )

    @property
    def _missing(self) -> str | None:
        return next((name for name in (_DETECTOR, _POSE) if not (self.path / name).is_file()), None)

    @property
    def has_outlines(self) -> bool:
        """Whether those of SAM2 are."""
        return all((self.path / _SAM2 / f"{name}.onnx").is_file() for name in GRAPHS)
