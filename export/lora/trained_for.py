"""The base that an adapter was trained for, as far as its names and shapes give it away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wan_trt.export.lora.adapter_file import AdapterFile
from wan_trt.export.lora.tails import Role, split

_WIDTHS = {1536: "Wan2.1-T2V-1.3B", 3072: "Wan2.2-TI2V-5B", 5120: "a 14B Wan model"}
_CHANNELS = {16: "Wan T2V", 36: "Wan I2V", 48: "Wan2.2-TI2V-5B"}
# Names that only one architecture has; the first that occurs tells.
_FOREIGN = (
    (r"(?:down|up)_blocks_\d|mid_block_", "Stable Diffusion"),
    (r"(?:single|double|single_transformer)_blocks_\d", "Flux or HunyuanVideo"),
)
_NAMES = (
    *_FOREIGN,
    (r"vace_blocks", "Wan VACE"),
    (r"control_adapter", "Wan2.2-Fun-Control"),
    (r"face_adapter|face_encoder|motion_encoder|pose_patch_embedding", "Wan2.2-Animate"),
    (r"cross_attn_[kv]_img|attn2_add_[kv]_proj|img_emb|image_embedder", "Wan I2V or Animate"),
)
# Square projections of attention: their rows are the width of the model.
_SQUARE = re.compile(
    r"(?:self_attn|attn1|cross_attn|attn2)_(?:to_)?(?:q|k|v|o|out|out_0)$", re.ASCII
)
_ROWS = frozenset({Role.UP, Role.HADA_W1_A, Role.WEIGHT})
_METADATA = ("ss_base_model_version", "modelspec.architecture", "ss_sd_model_name", "base_model")


@dataclass(frozen=True)
class TrainedFor:
    """`width` and `channels` (of the patch embedding) are None where no tensor shows them."""

    name: str
    width: int | None = None
    channels: int | None = None

    def mismatch(self, width: int | None, channels: int | None) -> str:
        """How the base differs from a model of this width and channels; empty if it does not."""
        if self.width and width and self.width != width:
            return (
                f"it was trained for a base of width {_named(self.width, _WIDTHS)}, "
                f"this model has {_named(width, _WIDTHS)}"
            )
        if self.channels and channels and self.channels != channels:
            return (
                "it was trained for a base whose patch embedding takes "
                f"{_named(self.channels, _CHANNELS)} channels, "
                f"this model takes {_named(channels, _CHANNELS)}"
            )
        return ""


def trained_for(file: AdapterFile) -> TrainedFor:
    """What names, shapes and metadata say; sizes of another architecture are left out."""
    name = _by_name(file.shapes)
    if name in dict(_FOREIGN).values():
        return TrainedFor(name)
    width = channels = None
    for key, shape in file.shapes.items():
        tail = split(key)
        if tail is None or not shape:
            continue
        flat = tail.stem.replace(".", "_")
        if tail.role in _ROWS and width is None and _SQUARE.search(flat):
            width = shape[0]
        if flat.endswith("patch_embedding") and "pose" not in flat and len(shape) == 5:
            channels = shape[1] if tail.role in (Role.WEIGHT, Role.DOWN) else channels
    parts = [_stated(file), name]
    if width is not None:
        parts.append(f"width {_named(width, _WIDTHS)}")
    if channels is not None:
        parts.append(f"{_named(channels, _CHANNELS)} channels")
    return TrainedFor(", ".join(part for part in parts if part), width, channels)


def _stated(file: AdapterFile) -> str:
    found = [file.metadata[name] for name in _METADATA if file.metadata.get(name)]
    configs = [file.config, *file.components.values()]
    found += [config.base for config in configs if config and config.base]
    return f"stated: {found[0]}" if found else ""


def _by_name(keys: Iterable[str]) -> str:
    flat: Sequence[str] = [key.replace(".", "_") for key in keys]
    for pattern, name in _NAMES:
        if any(re.search(pattern, key) for key in flat):
            return name
    return "Wan without image branch" if any("blocks_0_" in key for key in flat) else ""


def _named(size: int, names: dict[int, str]) -> str:
    return f"{size} ({names[size]})" if size in names else str(size)
