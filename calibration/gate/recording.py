"""What the denoiser of a run was given and what it answered, kept on disk for another to repeat.

A recording is the engine's loader of one run: its denoisers and contexts are watched, all other
graphs run as they are. Of a context it is what the graph was given that is kept: who repeats the
run computes keys, values and tokens with its own weights. Tensors are files named by their content,
so what stays the same is kept once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.calibration.writers import Arrays, Writers
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import Bindings, Executor, GraphSpec
from wan_trt.engine.executors import Load
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import Event, ExpertName
from wan_trt.engine.schedule import expert_for

_CONTEXT = "_context"  # how the names of context graphs end


@dataclass(frozen=True, eq=False)
class ContextLaunch:
    """The `number`th run of a context graph; `inputs` and `sizes` as in `Launch`."""

    number: int
    graph: str
    sizes: Mapping[str, int]
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Launch:
    """One pass of the denoiser. `branch` counts the passes of a step: 1 is the unconditional one.

    `inputs`, less what `contexts` have computed, and `velocity` name tensors of the recording;
    `sizes` are the graph's symbols.
    """

    expert: ExpertName
    segment: int
    step: int
    timestep: int
    branch: int
    sizes: Mapping[str, int]
    inputs: Mapping[str, str]
    contexts: tuple[ContextLaunch, ...]
    velocity: str


@dataclass
class Recording:
    """The launches of one run in their order; `folder` holds the tensors."""

    folder: Path
    boundary: float
    launches: list[Launch] = field(default_factory=list)
    segment: int = 0
    step: int = 0
    _contexts: int = 0
    _writers: Writers[ContextLaunch] = field(default_factory=Writers)

    def watch(self, event: Event) -> None:
        """Learn from the run's events where it stands."""
        self.segment, self.step = event.segment, event.step

    def loader(self, load: Load) -> Load:
        """`load`, whose denoisers and contexts are recorded."""

        def watched(bundle: Bundle, graph: str, weight_set: str) -> Executor:
            executor = load(bundle, graph, weight_set)
            if graph == DENOISER:
                return _Watched(executor, self._add)
            if graph.endswith(_CONTEXT):
                return _Watched(executor, partial(self._add_context, graph))
            return executor

        return watched

    def _add_context(self, graph: str, bindings: Bindings, sizes: Mapping[str, int]) -> None:
        self._contexts += 1
        inputs = self._keep_all(bindings.inputs)
        launch = ContextLaunch(self._contexts, graph, dict(sizes), inputs)
        self._writers.note(launch, bindings.outputs)

    def _add(self, bindings: Bindings, sizes: Mapping[str, int]) -> None:
        plain, contexts = self._writers.split(bindings.inputs)
        timestep = int(bindings.inputs["timestep"][0])
        place = self.segment, self.step
        self.launches.append(
            Launch(
                expert=expert_for(timestep, self.boundary),
                segment=self.segment,
                step=self.step,
                timestep=timestep,
                branch=sum((before.segment, before.step) == place for before in self.launches),
                sizes=dict(sizes),
                inputs=self._keep_all(plain),
                contexts=contexts,
                velocity=self.keep(bindings.outputs["velocity"]),
            )
        )

    def tensor(self, name: str) -> NDArray[Any]:
        """A kept tensor, mapped from its file."""
        tensor: NDArray[Any] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
        return tensor

    def _keep_all(self, arrays: Arrays) -> dict[str, str]:
        return {name: self.keep(value) for name, value in arrays.items()}

    def keep(self, value: NDArray[Any]) -> str:
        """Write a tensor, unless it is there already; its name."""
        name = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
        name = f"{name}-{value.dtype}-{'x'.join(map(str, value.shape))}"
        path = self.folder / f"{name}.npy"
        if not path.exists():
            np.save(path, value)
        return name


@dataclass(frozen=True)
class _SizedBindings:
    """Bindings that know what they were made for."""

    bindings: Bindings
    sizes: Mapping[str, int]

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        return self.bindings.inputs

    @property
    def outputs(self) -> Mapping[str, NDArray[Any]]:
        return self.bindings.outputs


class _Watched:
    """An executor that tells of every launch, when it has been made, and of its sizes."""

    def __init__(
        self, executor: Executor, tell: Callable[[Bindings, Mapping[str, int]], None]
    ) -> None:
        self._executor = executor
        self._tell = tell

    @property
    def spec(self) -> GraphSpec:
        return self._executor.spec

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> Bindings:
        return _SizedBindings(self._executor.bind(sizes, tensors), sizes)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        if not isinstance(bindings, _SizedBindings):
            raise ValueError("a watched executor launches its own bindings")
        self._executor.launch(bindings.bindings, stream)
        self._tell(bindings, bindings.sizes)

    def close(self) -> None:
        self._executor.close()
