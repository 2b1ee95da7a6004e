"""Networks out of files: what they see, and what is said about files that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser
from tiny_networks import pose_places, red_box, write_detector, write_pose, write_sam2

from wan_trt.engine.errors import ExecutionError, InputError
from wan_trt.engine.frames import ArrayFrames
from wan_trt.preprocess.networks.folder import NetworkFolder
from wan_trt.preprocess.networks.onnx_network import NetworkDevice, OnnxNetwork
from wan_trt.preprocess.networks.sam2 import Sam2
from wan_trt.preprocess.networks.vitpose import VitPose
from wan_trt.preprocess.networks.yolo import YoloDetector

BOXES = [[16 + 4 * frame, 24, 48 + 4 * frame, 72] for frame in range(5)]


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("batch", ["n", "1", "3"])
def test_people(tmp_path: Path, columns: bool, batch: str) -> None:
    path = write_detector(tmp_path / "detector.onnx", columns=columns, batch=batch)
    people = YoloDetector(path).people(red_box(5))
    assert [one[:, :4].tolist() for one in people] == [[box] for box in BOXES]
    assert people[0][0, 4] == pytest.approx(0.9)


def test_nobody(folder: Path) -> None:
    empty = np.full((2, 60, 80, 3), 90, dtype=np.uint8)
    assert [len(one) for one in NetworkFolder.find(folder).detector().people(empty)] == [0, 0]


@pytest.mark.parametrize("batch", ["n", "1", "2"])
def test_poses(tmp_path: Path, batch: str) -> None:
    estimator = VitPose(write_pose(tmp_path / "pose.onnx", batch=batch))
    people = [np.array([*box, 0.9]) for box in BOXES]
    points = estimator.points(red_box(5), people)
    assert points.shape == (5, 133, 3)
    # 1.25 times a box of 32 x 48, extended to 3 : 4; a cell is a twelfth of its width.
    places = np.array([9.5, 18.0]) + pose_places() * (60 * 3 / 4 / 12)
    np.testing.assert_allclose(points[0, :, :2], places, atol=0.25)
    np.testing.assert_allclose(points[1, :, 0], points[0, :, 0] + 4, atol=1e-9)
    assert (points[..., 2] > 0.7).all()


def test_outlines_are_remembered(folder: Path) -> None:
    frames = red_box(12)
    frames[5] = 160  # out of sight
    masks = list(
        NetworkFolder.find(folder)
        .outlines()
        .outlines(ArrayFrames(frames), {2: np.array([[40.0, 40.0]])})
    )
    red = frames[..., 1] < 50
    for index, mask in enumerate(masks):
        assert mask.shape == frames.shape[1:3]
        if index in (0, 1, 5):  # nothing is known yet, or nothing is there
            assert not mask.any()
        else:
            wrong = np.count_nonzero(mask != red[index])
            assert wrong < 0.1 * np.count_nonzero(red[index])


def test_nothing_is_remembered_of_an_empty_place(tmp_path: Path) -> None:
    frames = red_box(3)
    frames[0] = 160
    tracker = Sam2(write_sam2(tmp_path / "sam2", frame_size=True))
    masks = list(tracker.outlines(ArrayFrames(frames), {0: np.array([[40.0, 40.0]])}))
    assert not any(mask.any() for mask in masks)


def test_a_checkpoint_or_the_folder_in_it(folder: Path) -> None:
    assert NetworkFolder.find(folder).path == NetworkFolder.find(folder.parent).path == folder
    with pytest.raises(InputError, match=r"models: .*nowhere is no folder.*--keypoints"):
        NetworkFolder.find(folder / "nowhere")


def test_missing_files_are_named_and_what_replaces_them(tmp_path: Path) -> None:
    networks = NetworkFolder(tmp_path)
    for load, message in (
        (networks.detector, r"det/yolov10m\.onnx is missing.*person detector.*--keypoints FILE"),
        (networks.pose, r"pose2d/vitpose_h_wholebody\.onnx is missing.*--keypoints FILE"),
        (networks.outlines, r"sam2/image_encoder\.onnx is missing.*--matte VIDEO.*--mask-from box"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            load()
        assert caught.value.field == "models"


def test_files_of_another_kind(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(InputError, match=r"text\.onnx: .*replace it"):
        YoloDetector(tmp_path / "text.onnx")
    detector, pose = folder / "det/yolov10m.onnx", folder / "pose2d/vitpose_h_wholebody.onnx"
    with pytest.raises(InputError, match=r"expected .*\[batch, 133, rows, columns\]"):
        VitPose(detector)
    with pytest.raises(InputError, match=r"expected \[n, 6\]"):
        YoloDetector(pose).people(red_box(1))
    sam2 = write_sam2(tmp_path / "sam2")
    (sam2 / "memory_encoder.onnx").write_bytes(detector.read_bytes())
    with pytest.raises(InputError, match=r"memory_encoder\.onnx: its inputs are images"):
        Sam2(sam2)


def test_a_network_that_fails(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    broken (float[n,3,64,64] images) => (float[n,1,6] output0) {
      shape = Constant<value_ints = [7, 1, 6]>()
      output0 = Reshape(images, shape)
    }
    """
    onnx.save(parser.parse_model(text), tmp_path / "broken.onnx")
    with pytest.raises(ExecutionError, match=r"running .*broken\.onnx"):
        YoloDetector(tmp_path / "broken.onnx").people(red_box(1))


def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match=r"device: this ONNX Runtime has no CUDA"):
        OnnxNetwork(folder / "det/yolov10m.onnx", "a", "b", NetworkDevice.CUDA)
