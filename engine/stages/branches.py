"""Which context graphs a model runs, and on which of a job's tensors (pure).

The denoiser reads the outputs of context graphs. What they are run on is known from the model alone
and lies where it is for the whole job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wan_trt.engine.models import ModelName


@dataclass(frozen=True, eq=False)
class ContextRun:
    """One context graph on the job's tensors: `inputs` has their names by those of the graph's
    inputs. `varies`: each segment has values of its own.

    Guidance branches that hold the same object share the graph's outputs.
    """

    graph: str
    inputs: Mapping[str, str]
    varies: bool = False

    def output_name(self, output: str, weight_set: str) -> str:
        """What the job calls an output. What serves it throughout is kept for each weight set; of
        what varies there is one, overwritten when segment or expert change."""
        kept = "" if self.varies else f".{weight_set}"
        return f"{self.graph}({','.join(self.inputs.values())}){kept}.{output}"


Branch = tuple[ContextRun, ...]
"""All contexts of one guidance branch: what the prompt asks for, or what it asks against."""


@dataclass(frozen=True)
class Branches:
    """The guidance branches of a job. `unconditional` is None where no step is guided."""

    conditional: Branch
    unconditional: Branch | None = None


_TEXT = ContextRun("text_context", {"text_rows": "text_rows"})
_NEGATIVE_TEXT = ContextRun("text_context", {"text_rows": "negative_rows"})
_CLIP = ContextRun("segment_context", {"condition": "condition"}, varies=True)
_POSED = ContextRun(
    "segment_context", {"condition": "condition", "pose_latents": "pose_latents"}, varies=True
)
_IMAGE = ContextRun("image_context", {"image_features": "image_features"})
_FACES = ContextRun("face_context", {"motion": "motion"}, varies=True)
_BLACK_FACES = ContextRun("face_context", {"motion": "black_motion"})

_OF_MODELS: Mapping[ModelName, tuple[Branch, Branch]] = {
    ModelName.ANIMATE: (
        (_IMAGE, _POSED, _TEXT, _FACES),
        (_IMAGE, _POSED, _NEGATIVE_TEXT, _BLACK_FACES),
    ),
    ModelName.IMAGE_TO_VIDEO: ((_CLIP, _TEXT), (_CLIP, _NEGATIVE_TEXT)),
}


def branches_of(model: ModelName, guided: bool) -> Branches:
    """The branches of a job on a model; `guided` says whether any of its steps is."""
    conditional, unconditional = _OF_MODELS[model]
    return Branches(conditional, unconditional if guided else None)
