"""Tiny ONNX models with the contracts of the real ones. To them a person is what is bright red."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

RED = (255, 0, 0)
POINTS = 133

# The box of all red pixels of a picture 64 x 64, score 0.9; without any the score is 0.
_DETECTOR = """
<ir_version: 8, opset_import: ["": 17]>
detector (float[{batch},3,64,64] images) => (float[{batch},{shape}] output0) {{
  channel = Constant<value_int = 0>()
  one = Constant<value_int = 1>()
  high = Constant<value_float = 0.7>()
  sure = Constant<value_float = 0.9>()
  second = Constant<value_ints = [1]>()
  red_channel = Gather<axis = 1>(images, channel)
  green_channel = Gather<axis = 1>(images, one)
  difference = Sub(red_channel, green_channel)
  is_red = Greater(difference, high)
  red = Cast<to = 1>(is_red)
  across = ReduceMax<axes = [1], keepdims = 0>(red)
  down = ReduceMax<axes = [2], keepdims = 0>(red)
  left_i = ArgMax<axis = 1, keepdims = 1>(across)
  last_i = ArgMax<axis = 1, keepdims = 1, select_last_index = 1>(across)
  top_i = ArgMax<axis = 1, keepdims = 1>(down)
  lowest_i = ArgMax<axis = 1, keepdims = 1, select_last_index = 1>(down)
  right_i = Add(last_i, one)
  bottom_i = Add(lowest_i, one)
  left = Cast<to = 1>(left_i)
  right = Cast<to = 1>(right_i)
  top = Cast<to = 1>(top_i)
  bottom = Cast<to = 1>(bottom_i)
  any = ReduceMax<axes = [1], keepdims = 1>(across)
  score = Mul(any, sure)
  kind = Sub(score, score)
{rows}
}}
"""
_ROWS = """
  row = Concat<axis = 1>(left, top, right, bottom, score, kind)
  output0 = Unsqueeze(row, second)
"""
# One box among a hundred empty ones, in columns of centre, size and 80 class scores.
_COLUMNS = """
  half = Constant<value_float = 0.5>()
  x_sum = Add(left, right)
  y_sum = Add(top, bottom)
  x = Mul(x_sum, half)
  y = Mul(y_sum, half)
  width = Sub(right, left)
  height = Sub(bottom, top)
  five = Concat<axis = 1>(x, y, width, height, score)
  third = Constant<value_ints = [2]>()
  column = Unsqueeze(five, third)
  pads = Constant<value_ints = [0, 0, 0, 0, 79, 99]>()
  output0 = Pad(column, pads)
"""
# The same pose in every crop: 133 peaks where `pose_places` says, hot where anything is bright.
_POSE = """
<ir_version: 8, opset_import: ["": 17]>
pose (float[{batch},3,64,48] input) => (float[{batch},133,16,12] heat_maps) {{
  bright = ReduceMax<axes = [1, 2, 3], keepdims = 1>(input)
  low = Constant<value_float = 0.0>()
  lit = Greater(bright, low)
  factor = Cast<to = 1>(lit)
  heat_maps = Mul(peaks, factor)
}}
"""


def write_detector(path: Path, *, columns: bool = False, batch: str = "n") -> Path:
    """[n, 1, 6] rows, or [n, 84, 100] columns; `batch` may be a number."""
    text = _DETECTOR.format(
        batch=batch, shape="84,100" if columns else "1,6", rows=_COLUMNS if columns else _ROWS
    )
    return _save(parser.parse_model(text), path)


def pose_places() -> NDArray[np.float64]:
    """[133, 2] (x, y) of the pose's peaks in cells of [16, 12]: no two of them alike."""
    index = np.arange(POINTS)
    return np.stack([3.25 + index % 6, 3.5 + index * 8 / POINTS], axis=1)


def write_pose(path: Path, *, batch: str = "n") -> Path:
    """[n, 3, 64, 48] -> [n, 133, 16, 12]; `batch` may be a number."""
    rows, columns = np.mgrid[:16, :12]
    x, y = pose_places()[:, :1, None], pose_places()[:, 1:, None]
    peaks = 0.95 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2)
    model = parser.parse_model(_POSE.format(batch=batch))
    model.graph.initializer.append(numpy_helper.from_array(peaks.astype(np.float32), "peaks"))
    return _save(model, path)


# SAM2 of 64 x 64 pixels, 4 x 4 cells and 8 (memory: 2) channels. A mask is where the picture is red
# - if the frame has points, or the memory it is compared with holds a mask that is not empty.
_SAM2 = {
    "image_encoder": """
<ir_version: 8, opset_import: ["": 17]>
encoder (float[1,3,64,64] image) => (float[1,8,4,4] pix_feat, float[1,1,64,64] high_res_feat0,
    float[1,1,32,32] high_res_feat1, float[1,8,4,4] vision_feats, float[16,1,8] vision_pos_embed) {
  channel = Constant<value_ints = [0]>()
  one = Constant<value_ints = [1]>()
  red = Gather<axis = 1>(image, channel)
  green = Gather<axis = 1>(image, one)
  high_res_feat0 = Sub(red, green)
  high_res_feat1 = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(high_res_feat0)
  cells = AveragePool<kernel_shape = [16, 16], strides = [16, 16]>(high_res_feat0)
  shape = Constant<value_ints = [1, 8, 4, 4]>()
  pix_feat = Expand(cells, shape)
  zero = Constant<value_float = 0.0>()
  vision_feats = Mul(pix_feat, zero)
  flat = Constant<value_ints = [16, 1, 8]>()
  vision_pos_embed = Reshape(vision_feats, flat)
}
""",
    "memory_attention": """
<ir_version: 8, opset_import: ["": 17]>
attention (float[1,8,4,4] current_vision_feat, float[16,1,8] current_vision_pos_embed,
    float[m,8] memory_0, float[k,2,4,4] memory_1, float[l,1,2] memory_pos_embed)
    => (float[1,8,4,4] image_embed) {
  masked = ReduceMax<keepdims = 0>(memory_1)
  places = ReduceSum<keepdims = 0>(memory_pos_embed)
  pointers = ReduceSum<keepdims = 0>(memory_0)
  position = ReduceSum<keepdims = 0>(current_vision_pos_embed)
  more = Add(places, pointers)
  most = Add(more, position)
  zero = Constant<value_float = 0.0>()
  nothing = Mul(most, zero)
  seen = Add(masked, nothing)
  image_embed = Add(current_vision_feat, seen)
}
""",
    "image_decoder": """
<ir_version: 8, opset_import: ["": 17]>
decoder (float[1,p,2] point_coords, float[1,p] point_labels, SIZE
    float[1,8,4,4] image_embed, float[1,1,64,64] high_res_feats_0,
    float[1,1,32,32] high_res_feats_1)
    => (float[1,8] obj_ptr, float[1,1,64,64] mask_for_mem, float[1,1,64,64] pred_mask) {
  remembered = ReduceMax<keepdims = 0>(image_embed)
  label = ReduceMax<keepdims = 0>(point_labels)
  known = Max(remembered, label)
  least = Constant<value_float = 0.5>()
  is_known = Greater(known, least)
  factor = Cast<to = 1>(is_known)
  one = Constant<value_float = 1.0>()
  three = Constant<value_float = 3.0>()
  redder = Sub(high_res_feats_0, three)
  bounded = Clip(redder, low, high)
  red = Add(bounded, one)
  shown = Mul(red, factor)
  pred_mask = Sub(shown, one)
  positive = Relu(pred_mask)
  mask_for_mem = Sign(positive)
  sum = ReduceSum<keepdims = 0>(mask_for_mem)
  shape = Constant<value_ints = [1, 8]>()
  obj_ptr = Expand(sum, shape)
}
""",
    "memory_encoder": """
<ir_version: 8, opset_import: ["": 17]>
memory (float[1,1,64,64] mask_for_mem, float[1,8,4,4] pix_feat) => (float[1,2,4,4] maskmem_features,
    float[16,1,2] maskmem_pos_enc, float[7,1,1,2] temporal_code) {
  cells = MaxPool<kernel_shape = [16, 16], strides = [16, 16]>(mask_for_mem)
  shape = Constant<value_ints = [1, 2, 4, 4]>()
  maskmem_features = Expand(cells, shape)
  flat = Constant<value_ints = [16, 1, 2]>()
  maskmem_pos_enc = Reshape(maskmem_features, flat)
  ages = Constant<value_floats = [
    1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 5.0, 5.0, 6.0, 6.0, 7.0, 7.0]>()
  codes = Constant<value_ints = [7, 1, 1, 2]>()
  temporal_code = Reshape(ages, codes)
}
""",
}


def write_sam2(folder: Path, *, frame_size: bool = False) -> Path:
    """The four graphs of SAM2; `frame_size` is an input that some decoders have."""
    folder.mkdir(parents=True)
    for name, text in _SAM2.items():
        size = "int64[2] frame_size," if frame_size else ""
        model = parser.parse_model(text.replace("SIZE", size))
        if name == "image_decoder":
            for limit, value in (("low", -2.0), ("high", 2.0)):
                tensor = numpy_helper.from_array(np.array(value, dtype=np.float32), limit)
                model.graph.initializer.append(tensor)
        _save(model, folder / f"{name}.onnx")
    return folder


def write_networks(folder: Path, *, sam2: bool = True) -> Path:
    """A folder laid out as a checkpoint's `process_checkpoint`."""
    write_detector(folder / "det" / "yolov10m.onnx")
    write_pose(folder / "pose2d" / "vitpose_h_wholebody.onnx")
    if sam2:
        write_sam2(folder / "sam2")
    return folder


def red_box(count: int, height: int = 96, width: int = 128, *, step: int = 4) -> NDArray[np.uint8]:
    """Frames of a grey room in which a red box of a quarter's sides walks to the right."""
    frames = np.full((count, height, width, 3), 160, dtype=np.uint8)
    for index, frame in enumerate(frames):
        left = width // 8 + step * index
        frame[height // 4 : height * 3 // 4, left : left + width // 4] = RED
    return frames


def _save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
