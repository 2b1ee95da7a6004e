"""SAM2's video segmentation as four ONNX graphs, its memory carried between frames here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wan_trt.engine.frames import FrameSource
from wan_trt.preprocess.detection.pose_crop import IMAGE_DEVIATION, IMAGE_MEAN
from wan_trt.preprocess.networks.onnx_network import NetworkDevice, OnnxNetwork
from wan_trt.preprocess.networks.sam2_memory import FrameMemory, Sam2Memory

INSTEAD: Final = "give --matte VIDEO, or --mask-from box"
_DEFAULT_SIZE = (1024, 1024)
_ON_THE_OBJECT, _NO_POINT = 1.0, -1.0

# File -> its inputs and outputs; those of docs/preprocessing.md.
GRAPHS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "image_encoder": (
        ("image",),
        ("pix_feat", "high_res_feat0", "high_res_feat1", "vision_feats", "vision_pos_embed"),
    ),
    "memory_attention": (
        (
            *("current_vision_feat", "current_vision_pos_embed"),
            *("memory_0", "memory_1", "memory_pos_embed"),
        ),
        ("image_embed",),
    ),
    "image_decoder": (
        ("point_coords", "point_labels", "image_embed", "high_res_feats_0", "high_res_feats_1"),
        ("obj_ptr", "mask_for_mem", "pred_mask"),
    ),
    "memory_encoder": (
        ("mask_for_mem", "pix_feat"),
        ("maskmem_features", "maskmem_pos_enc", "temporal_code"),
    ),
}

Tensors = Mapping[str, NDArray[np.float32]]


class Sam2:
    """An OutlineTracker.

    The graphs are those of the public exports for ONNX Runtime and TensorRT (SAM2Export); a decoder
    may also have an input `frame_size`. Memory grows with the prompted frames and no others.
    """

    def __init__(self, folder: Path, device: NetworkDevice = NetworkDevice.CPU) -> None:
        """Raises InputError naming the file that is missing or of another kind."""
        graphs = {}
        for name, (inputs, outputs) in GRAPHS.items():
            what = f"SAM2's {name.replace('_', ' ')}"
            network = OnnxNetwork(folder / f"{name}.onnx", what, INSTEAD, device)
            network.require(inputs, outputs)
            graphs[name] = network
        self._graphs = graphs
        self._size = graphs["image_encoder"].picture_size(_DEFAULT_SIZE)

    def outlines(
        self, frames: FrameSource, points: Mapping[int, NDArray[np.float64]]
    ) -> Iterator[NDArray[np.uint8]]:
        """See OutlineTracker.outlines. Frames before the first with points have empty masks."""
        size = frames.height, frames.width
        prompted: dict[int, FrameMemory] = {}
        masks: dict[int, NDArray[np.uint8]] = {}
        for index in sorted(points):
            seen = self._encode(frames.read(index, index + 1)[0])
            # A frame with prompts is looked at without any memory.
            masks[index], prompted[index] = self._decode(
                seen, seen["vision_feats"], points[index], size
            )
        memory = Sam2Memory(prompted)
        first = min(points, default=frames.count)
        for index in range(frames.count):
            if index in masks:
                yield masks[index]
            elif index < first:
                yield np.zeros(size, dtype=np.uint8)
            else:
                seen = self._encode(frames.read(index, index + 1)[0])
                attended = self._graphs["memory_attention"].run(
                    {
                        "current_vision_feat": seen["vision_feats"],
                        "current_vision_pos_embed": seen["vision_pos_embed"],
                        **memory.inputs_for(index),
                    }
                )
                mask, left_behind = self._decode(seen, attended["image_embed"], None, size)
                memory.add(index, left_behind)
                yield mask

    def _encode(self, frame: NDArray[np.uint8]) -> Tensors:
        height, width = self._size
        scaled = np.asarray(
            Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        )
        normal = (scaled / 255.0 - IMAGE_MEAN) / IMAGE_DEVIATION
        return self._graphs["image_encoder"].run({"image": normal.transpose(2, 0, 1)[None]})

    def _decode(
        self,
        seen: Tensors,
        embedding: NDArray[np.float32],
        points: NDArray[np.float64] | None,
        size: tuple[int, int],
    ) -> tuple[NDArray[np.uint8], FrameMemory]:
        """The mask of one frame and what is remembered of it."""
        places, label = np.zeros((1, 2)), _NO_POINT
        if points is not None:
            places = points * (np.array(self._size[::-1]) / np.array(size[::-1]))
            label = _ON_THE_OBJECT
        feeds = {
            "point_coords": places[None].astype(np.float32),
            "point_labels": np.full((1, len(places)), label, dtype=np.float32),
            "image_embed": embedding,
            "high_res_feats_0": seen["high_res_feat0"],
            "high_res_feats_1": seen["high_res_feat1"],
        }
        decoder = self._graphs["image_decoder"]
        if "frame_size" in decoder.inputs:
            feeds["frame_size"] = np.array(size, dtype=np.float32)
        decoded = decoder.run(feeds)
        encoded = self._graphs["memory_encoder"].run(
            {"mask_for_mem": decoded["mask_for_mem"], "pix_feat": seen["pix_feat"]}
        )
        memory = FrameMemory(
            encoded["maskmem_features"],
            encoded["maskmem_pos_enc"],
            encoded["temporal_code"],
            decoded["obj_ptr"],
        )
        logits = decoded["pred_mask"].reshape(-1, *decoded["pred_mask"].shape[-2:])[0]
        if logits.shape != size:
            logits = np.asarray(cv2.resize(logits, size[::-1]), dtype=np.float32)
        return (logits > 0).astype(np.uint8), memory
