"""A checkpoint, opened: its parts as lazy tensor sources with the original names.

`layouts/` tells what a folder holds, official, diffusers or single files; from here on nobody
needs to know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.layouts.detect import detect
from wan_trt.export.tensors import TensorSource


@dataclass(frozen=True)
class Dit:
    """A diffusion transformer: config.json, and its tensors with the original names."""

    config: Mapping[str, Any]
    tensors: TensorSource


@dataclass(frozen=True)
class Checkpoint:
    """The parts of a model, in whatever layout they came. Opening reads headers only.

    `experts` are one and the same object where the model has a single DiT; `clip` is None where it
    has no image branch. `boundary` is what the checkpoint says of itself, else None. `files` lie
    under `path`; `layout` says what each part was found to be.
    """

    model: ModelName
    path: Path
    layout: str
    experts: Mapping[ExpertName, Dit]
    vae: TensorSource
    t5: TensorSource
    tokenizer: Path
    clip: TensorSource | None
    boundary: float | None
    files: tuple[Path, ...]

    def part(self, source: TensorSource) -> str:
        """What the part is called that `source` is, in recipes."""
        experts = {expert: dit.tensors for expert, dit in self.experts.items()}
        single = experts[ExpertName.HIGH] is experts[ExpertName.LOW]
        parts = {
            **{"dit" if single else f"dit.{expert}": dit for expert, dit in experts.items()},
            "vae": self.vae,
            "t5": self.t5,
            "clip": self.clip,
        }
        return next(name for name, part in parts.items() if part is source)

    @staticmethod
    def open(path: str | Path) -> Checkpoint:
        """Raises CheckpointError naming what is missing, damaged or ambiguous."""
        layout = detect(path)
        opened = {
            weights: Dit(layout.config, weights.open())
            for weights in dict.fromkeys(layout.experts.values())
        }
        return Checkpoint(
            model=layout.model,
            path=layout.path,
            layout=layout.describe(),
            experts={expert: opened[weights] for expert, weights in layout.experts.items()},
            vae=layout.vae.open(),
            t5=layout.t5.open(),
            tokenizer=layout.tokenizer,
            clip=None if layout.clip is None else layout.clip.open(),
            boundary=layout.boundary,
            files=layout.files,
        )
