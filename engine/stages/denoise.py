"""One denoising step: context tensors, the expert's velocity, guidance.

What does not depend on the timestep is computed once and stays at fixed addresses; a step only
writes the timestep and launches. Text and image keys are kept for each weight set, the larger
tokens and face keys once: a segment changes its expert at most once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import Bindings
from wan_trt.engine.executors import Executors
from wan_trt.engine.request import ExpertName
from wan_trt.engine.rope import rope_tables
from wan_trt.engine.stages.conditioning import JobCondition, SegmentCondition

Tensors = Mapping[str, NDArray[Any]]


class Context:
    """Outputs of one context graph, computed again only when what they depend on changes."""

    def __init__(self, executors: Executors, graph: str, sizes: Mapping[str, int]) -> None:
        self._executors = executors
        self._graph = graph
        self._sizes = sizes
        self._key: Hashable = None
        self._outputs: Tensors = {}

    def update(self, expert: ExpertName, inputs: Tensors, version: int) -> Tensors:
        """The outputs for `expert` and `inputs`, whose values change with `version`; always the
        same arrays."""
        key = self._executors.weight_set(self._graph, expert), version
        if key != self._key:
            executor = self._executors.get(self._graph, expert)
            bindings = executor.bind(self._sizes, {**inputs, **self._outputs})
            executor.launch(bindings)
            self._outputs = bindings.outputs
            self._key = key
        return self._outputs


@dataclass(frozen=True)
class Branch:
    """The inputs of one guidance branch: what the prompt asks for, or what it asks against."""

    name: str
    text_rows: NDArray[np.float32]
    motion: NDArray[np.float32]
    motion_varies: bool


class Denoiser:
    """The denoiser of one job: its tensors, and bindings of both experts to them.

    `latents` float32 [16, latents + 1, h, w] are the sample, reference latent first; a solver
    updates them in place.
    """

    def __init__(
        self,
        bundle: Bundle,
        executors: Executors,
        job: JobCondition,
        segment: SegmentCondition,
        black_motion: NDArray[np.float32] | None,
    ) -> None:
        """`black_motion` [motion_dim] is needed where guidance runs an unconditional branch."""
        geometry = bundle.manifest.geometry
        channels, video_latents, height, width = segment.pose_latents.shape
        self._executors = executors
        self._job, self._segment = job, segment
        self._sizes = {
            "frames": video_latents + 1,
            "latents": video_latents,
            "rows": height // geometry.patch,
            "columns": width // geometry.patch,
        }
        self.latents = np.zeros((channels, video_latents + 1, height, width), np.float32)
        cos, sin = rope_tables(
            self._sizes["frames"],
            self._sizes["rows"],
            self._sizes["columns"],
            geometry.head_dim,
        )
        self._fixed: dict[str, NDArray[Any]] = {
            "latents": self.latents,
            "timestep": np.zeros(1, np.int64),
            "rope_cos": cos,
            "rope_sin": sin,
        }
        self._conditional = Branch("conditional", job.text_rows, segment.motion, True)
        self._unconditional: Branch | None = None
        if job.negative_rows is not None and black_motion is not None:
            black = np.tile(black_motion, (len(segment.motion), 1))
            self._unconditional = Branch("unconditional", job.negative_rows, black, False)
        self._contexts: dict[Hashable, Context] = {}
        self._bindings: dict[tuple[ExpertName, str], Bindings] = {}

    def velocity(
        self, expert: ExpertName, timestep: int, guidance: float, version: int
    ) -> NDArray[np.float32]:
        """Velocity of the current latents, float32 of their shape, valid until the next call.

        `version` changes whenever the segment's condition has changed. With `guidance` > 1 the
        unconditional branch runs too: negative text and black faces, everything else the same.
        """
        conditional = self._run(expert, self._conditional, timestep, version)
        if guidance <= 1 or self._unconditional is None:
            return conditional
        unconditional = self._run(expert, self._unconditional, timestep, version)
        return unconditional + np.float32(guidance) * (conditional - unconditional)

    def _run(
        self, expert: ExpertName, branch: Branch, timestep: int, version: int
    ) -> NDArray[np.float32]:
        contexts = self._update_contexts(expert, branch, version)
        executor = self._executors.get("denoiser", expert)
        bindings = self._bindings.get((expert, branch.name))
        if bindings is None:
            bindings = executor.bind(self._sizes, {**self._fixed, **contexts})
            self._bindings[expert, branch.name] = bindings
        self._fixed["timestep"][0] = timestep
        executor.launch(bindings)
        return bindings.outputs["velocity"]

    def _update_contexts(
        self, expert: ExpertName, branch: Branch, version: int
    ) -> dict[str, NDArray[Any]]:
        job, segment = self._job, self._segment
        tensors: dict[str, NDArray[Any]] = {}
        text = self._context("text_context", expert, branch.name)
        tensors |= text.update(expert, {"text_rows": branch.text_rows}, 0)
        image = self._context("image_context", expert)
        tensors |= image.update(expert, {"image_features": job.image_features}, 0)
        if branch.motion_varies:
            face = self._context("face_context", None, branch.name)
            tensors |= face.update(expert, {"motion": branch.motion}, version)
        else:
            face = self._context("face_context", expert, branch.name)
            tensors |= face.update(expert, {"motion": branch.motion}, 0)
        tokens = self._context("segment_context", None)
        inputs = {"condition": segment.condition, "pose_latents": segment.pose_latents}
        return tensors | dict(tokens.update(expert, inputs, version))

    def _context(self, graph: str, expert: ExpertName | None, branch: str = "") -> Context:
        """The context of a graph: one for each weight set, or with `expert` None one for all,
        overwritten when the expert changes."""
        weight_set = self._executors.weight_set(graph, expert) if expert else None
        key = graph, weight_set, branch
        if key not in self._contexts:
            self._contexts[key] = Context(self._executors, graph, self._sizes)
        return self._contexts[key]
