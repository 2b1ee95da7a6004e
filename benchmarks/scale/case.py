"""What is exported: a checkpoint of full width and some of its 40 blocks, and two LoRAs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from wan_trt.engine.errors import InputError
from wan_trt.export.synthetic.dit_shapes import dit_shapes
from wan_trt.export.synthetic.encoder_shapes import clip_file_shapes, t5_shapes, vae_shapes
from wan_trt.export.synthetic.lora import BLOCK_LINEARS
from wan_trt.export.synthetic.sizes import ANIMATE_14B, TINY, CheckpointSizes

REAL_LAYERS = ANIMATE_14B.layers
_BF16, _FP32 = 2, 4


class Width(StrEnum):
    """`FULL` is that of Wan2.2-Animate-14B: its DiT but for the number of blocks, and what feeds
    it (VAE, CLIP, UMT5) as small as the DiT's shapes allow. `TINY` is for tests."""

    FULL = "full"
    TINY = "tiny"


@dataclass(frozen=True)
class Case:
    """Raises InputError for a number of blocks that no Animate model can have."""

    layers: int = 4
    rank: int = 128
    width: Width = Width.FULL

    def __post_init__(self) -> None:
        if self.layers < 1 or self.layers % self.sizes.face_layers:
            raise InputError(
                f"{self.layers} layers",
                expected=f"a multiple of the face blocks, one every {self.sizes.face_interval}",
                action="take 4, 5, 10, 20 or 40",
            )

    @property
    def sizes(self) -> CheckpointSizes:
        if self.width is Width.TINY:
            return replace(TINY, layers=self.layers)
        return replace(
            ANIMATE_14B,
            layers=self.layers,
            vae_dim=8,
            image_layers=2,
            text_layers=1,
            text_heads=2,
            text_ffn=64,
            text_vocabulary=TINY.text_vocabulary,
        )

    @property
    def base_nbytes(self) -> int:
        """The DiT's tensors in bfloat16, without headers."""
        return _BF16 * sum(math.prod(shape) for shape in dit_shapes(self.sizes).values())

    @property
    def lora_nbytes(self) -> int:
        """One expert's LoRA in bfloat16, without header and alphas."""
        shapes = dit_shapes(self.sizes)
        modules = (f"blocks.{i}.{part}" for i in range(self.layers) for part in BLOCK_LINEARS)
        return _BF16 * self.rank * sum(sum(shapes[f"{module}.weight"]) for module in modules)

    @property
    def encoder_nbytes(self) -> int:
        sizes = self.sizes
        values = {_BF16: t5_shapes(sizes), _FP32: vae_shapes(sizes) | clip_file_shapes(sizes)}
        return sum(
            width * math.prod(shape)
            for width, shapes in values.items()
            for shape in shapes.values()
        )

    def needed_nbytes(self, weight_nbytes: int) -> int:
        """Disk for the checkpoint, the LoRAs, and a bundle of two experts whose weights take
        `weight_nbytes` each, twice: the old one is there until the new one is complete."""
        bundle = 2 * self.base_nbytes // _BF16 * weight_nbytes + 2 * self.encoder_nbytes
        return self.base_nbytes + self.encoder_nbytes + 2 * self.lora_nbytes + 2 * bundle

    @staticmethod
    def read(path: Path) -> Case:
        fields = json.loads(path.read_text())
        return Case(**{**fields, "width": Width(fields["width"])})

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))
