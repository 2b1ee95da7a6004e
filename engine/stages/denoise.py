"""One denoising step: context tensors, and the expert's velocities.

What does not depend on the timestep is computed once and stays at fixed addresses; a step only
launches. Text and image keys are kept for each weight set, the larger tokens and face keys once: a
segment changes its expert at most once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from wan_trt.engine.backend import StepTensors
from wan_trt.engine.executor import Bindings
from wan_trt.engine.executors import Executors
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.engine.space import Tensor
from wan_trt.engine.stages.branches import Branch, Branches, ContextRun
from wan_trt.engine.stages.conditioning import Tensors


class Context:
    """Outputs of one context graph, computed again only when what they depend on changes."""

    def __init__(
        self,
        executors: Executors,
        graph: str,
        sizes: Mapping[str, int],
        outputs: Tensors | None = None,
        stream: int | None = None,
    ) -> None:
        """`outputs` are written to; None: arrays of their own, on a host."""
        self._executors = executors
        self._graph = graph
        self._sizes = sizes
        self._stream = stream
        self._key: Hashable = None
        self._outputs: Mapping[str, Any] = outputs or {}
        self._bindings: dict[str, Bindings] = {}  # by weight set

    def update(self, expert: ExpertName, inputs: Tensors, version: int) -> Mapping[str, Any]:
        """The outputs for `expert` and `inputs`, whose values change with `version`; always the
        same tensors. On a GPU `inputs` are, too."""
        weight_set = self._executors.weight_set(self._graph, expert)
        key = weight_set, version
        if key != self._key:
            executor = self._executors.get(self._graph, expert)
            bindings = self._bindings.get(weight_set)
            if bindings is None or any(
                bindings.inputs[name] is not inputs[name] for name in inputs
            ):
                bindings = executor.bind(self._sizes, {**inputs, **self._outputs})
            self._bindings[weight_set] = bindings
            executor.launch(bindings, self._stream)
            self._outputs = bindings.outputs
            self._key = key
        return self._outputs

    def keep_only(self, expert: ExpertName) -> None:
        """Forget bindings of weights that only the other expert has."""
        weight_set = self._executors.weight_set(self._graph, expert)
        self._bindings = {
            name: bindings for name, bindings in self._bindings.items() if name == weight_set
        }


class Denoiser:
    """The denoiser of one job: its tensors, and bindings of both experts to them. It outlives what
    it has launched.

    `step` has the latents, float32 [16, F, h, w], reference latent first where there is one, and
    the velocities of both branches; `tensors` all that `job_layout` names.
    """

    def __init__(
        self,
        executors: Executors,
        branches: Branches,
        sizes: Mapping[str, int],
        tensors: Tensors,
        step: StepTensors[Tensor],
        stream: int | None,
    ) -> None:
        self._executors = executors
        self._branches = branches
        self._sizes = sizes
        self._tensors = tensors
        self._stream = stream
        self.step = step
        self._fixed: Tensors = {
            "latents": step.latents,
            "timestep": step.timestep,
            "rope_cos": tensors["rope_cos"],
            "rope_sin": tensors["rope_sin"],
        }
        self._contexts: dict[tuple[ContextRun, str | None], Context] = {}
        self._bindings: dict[tuple[ExpertName, Branch], Bindings] = {}

    def prepare(self, expert: ExpertName, guidance: float, version: int) -> None:
        """Get whatever `launch` needs: graphs, contexts, bindings. May be done again. `version`
        changes whenever the segment's condition has changed."""
        for branch, velocity in self._branches_of(guidance):
            contexts: dict[str, Tensor] = {}
            for run in branch:
                inputs = {name: self._tensors[own] for name, own in run.inputs.items()}
                changes = version if run.varies else 0
                contexts |= self._context(run, expert).update(expert, inputs, changes)
            if (expert, branch) not in self._bindings:
                given = {**self._fixed, **contexts, "velocity": velocity}
                executor = self._executors.get(DENOISER, expert)
                self._bindings[expert, branch] = executor.bind(self._sizes, given)

    def launch(self, expert: ExpertName, guidance: float) -> None:
        """Velocities of the current latents at the timestep in `step.block`, into `step`; `prepare`
        was called with the same.

        With `guidance` 1 the unconditional branch does not count and is not run.
        """
        executor = self._executors.get(DENOISER, expert)
        for branch, _ in self._branches_of(guidance):
            executor.launch(self._bindings[expert, branch], self._stream)

    def _branches_of(self, guidance: float) -> list[tuple[Branch, Tensor]]:
        """What a step runs, and where its velocities go."""
        found: list[tuple[Branch, Tensor]] = [(self._branches.conditional, self.step.conditional)]
        unconditional = self._branches.unconditional
        if guidance != 1 and unconditional is not None and self.step.unconditional is not None:
            found.append((unconditional, self.step.unconditional))
        return found

    def keep_only(self, expert: ExpertName) -> None:
        """Forget bindings of the other expert: its graphs are closed. What its contexts computed
        stays. Nothing that was launched runs still."""
        for other, branch in list(self._bindings):
            if other is not expert:
                del self._bindings[other, branch]
        for context in self._contexts.values():
            context.keep_only(expert)

    def _context(self, run: ContextRun, expert: ExpertName) -> Context:
        weight_set = self._executors.weight_set(run.graph, expert)
        key = run, None if run.varies else weight_set
        if key not in self._contexts:
            spec = self._executors.get(run.graph, expert).spec
            outputs = {
                output.name: self._tensors[run.output_name(output.name, weight_set)]
                for output in spec.outputs
            }
            self._contexts[key] = Context(
                self._executors, run.graph, self._sizes, outputs, self._stream
            )
        return self._contexts[key]
