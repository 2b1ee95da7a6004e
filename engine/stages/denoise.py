"""One denoising step: context tensors, the expert's velocity, guidance.

What does not depend on the timestep is computed once and stays at fixed addresses; a step only
writes the timestep and launches. Text and image keys are kept for each weight set, the larger
tokens and face keys once: a segment changes its expert at most once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.executor import Bindings
from wan_trt.engine.executors import Executors
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.request import ExpertName
from wan_trt.engine.rope import rope_tables
from wan_trt.engine.stages.conditioning import Branch, Conditioning, ContextInputs, Tensors


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


class Denoiser:
    """The denoiser of one job: its tensors, and bindings of both experts to them.

    `latents` float32 [16, F, h, w] are the sample, reference latent first where there is one; a
    solver updates them in place.
    """

    def __init__(
        self,
        geometry: Geometry,
        executors: Executors,
        conditioning: Conditioning,
        latent_shape: tuple[int, ...],
    ) -> None:
        _, frames, height, width = latent_shape
        self._executors = executors
        self._conditioning = conditioning
        self._sizes = {
            "frames": frames,
            "latents": frames - 1,  # of the video, where frame 0 is the reference's
            "rows": height // geometry.patch,
            "columns": width // geometry.patch,
        }
        self.latents = np.zeros(latent_shape, np.float32)
        cos, sin = rope_tables(
            frames, self._sizes["rows"], self._sizes["columns"], geometry.head_dim
        )
        self._fixed: dict[str, NDArray[Any]] = {
            "latents": self.latents,
            "timestep": np.zeros(1, np.int64),
            "rope_cos": cos,
            "rope_sin": sin,
        }
        self._contexts: dict[tuple[ContextInputs, str | None], Context] = {}
        self._bindings: dict[tuple[ExpertName, Branch], Bindings] = {}

    def velocity(
        self, expert: ExpertName, timestep: int, guidance: float, version: int
    ) -> NDArray[np.float32]:
        """Velocity of the current latents, float32 of their shape, valid until the next call.

        `version` changes whenever the segment's condition has changed. With `guidance` 1 the
        unconditional branch does not count and is not run.
        """
        conditional = self._run(expert, self._conditioning.conditional, timestep, version)
        if guidance == 1 or self._conditioning.unconditional is None:
            return conditional
        unconditional = self._run(expert, self._conditioning.unconditional, timestep, version)
        return unconditional + np.float32(guidance) * (conditional - unconditional)

    def _run(
        self, expert: ExpertName, branch: Branch, timestep: int, version: int
    ) -> NDArray[np.float32]:
        contexts: dict[str, NDArray[Any]] = {}
        for inputs in branch:
            contexts |= self._context(inputs, expert).update(
                expert, inputs.tensors, version if inputs.varies else 0
            )
        executor = self._executors.get("denoiser", expert)
        bindings = self._bindings.get((expert, branch))
        if bindings is None:
            bindings = executor.bind(self._sizes, {**self._fixed, **contexts})
            self._bindings[expert, branch] = bindings
        self._fixed["timestep"][0] = timestep
        executor.launch(bindings)
        return bindings.outputs["velocity"]

    def _context(self, inputs: ContextInputs, expert: ExpertName) -> Context:
        """What serves the job throughout is kept for each weight set; of what varies there is one,
        overwritten when segment or expert change."""
        kept = None if inputs.varies else self._executors.weight_set(inputs.graph, expert)
        key = inputs, kept
        if key not in self._contexts:
            self._contexts[key] = Context(self._executors, inputs.graph, self._sizes)
        return self._contexts[key]
