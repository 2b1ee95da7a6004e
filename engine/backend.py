"""What a bundle is run by: a space, its memory, executors, and what a step needs beside them.

`engine/host_backend.py` is the CPU's, `engine/cuda/backend.py` a GPU's. Stages and pipeline know
these protocols alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import Executor
from wan_trt.engine.graph_run import GraphRun
from wan_trt.engine.lanes import Lane
from wan_trt.engine.memory.parking import Parking
from wan_trt.engine.memory.tensors import TensorMemory
from wan_trt.engine.solver import StepCoefficients
from wan_trt.engine.space import Space, Tensor

STEP_BLOCK_WORDS = 64
"""The numbers of a step: as int64 the first one is the timestep; the rest is the update's."""

T = TypeVar("T", bound=Tensor)


@dataclass(frozen=True)
class StepTensors(Generic[T]):
    """What one job's update reads and writes; float32 of one shape, but `block`, int64 [64].

    `sample`, `newest` and `older` are the solver's history. `unconditional` None: no guidance.
    """

    latents: T
    conditional: T
    unconditional: T | None
    sample: T
    newest: T
    older: T
    block: T

    @property
    def timestep(self) -> T:
        """The denoiser's input, int64 [1], inside the block."""
        timestep: T = self.block[:1]
        return timestep


class Update(Protocol):
    """Guidance and solver of one job, in place. A step is `write`, the denoiser's launches,
    `enqueue`, all on one stream."""

    @property
    def done(self) -> int:
        """Steps of the segment so far: as many estimates the history has, two at most."""
        ...

    def begin_segment(self, done: int = 0) -> None:
        """Forget the history; or go on after `done` steps, whose history is in the tensors."""
        ...

    def write(
        self, timestep: int, coefficients: StepCoefficients, guidance: float, stream: int | None
    ) -> None:
        """The numbers of the next step, the denoiser's timestep among them. `guidance` 1 leaves
        the unconditional velocity out."""
        ...

    def enqueue(self, stream: int | None) -> None:
        """Replace the latents by the next sample."""
        ...

    @property
    def first_bad_step(self) -> int | None:
        """Index of the segment's first step whose latents were not finite, as far as the work is
        done; asking does not wait."""
        ...

    def close(self) -> None:
        """Free what is not the job's."""
        ...


class Backend(Protocol):
    """One device for one engine, used by one thread a lane."""

    @property
    def name(self) -> str:
        """Of the device, and what else times depend on: what was measured under one name says
        nothing of another."""
        ...

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """`APART` where units of two lanes may run side by side, else `TOGETHER`."""
        ...

    @property
    def spaces(self) -> Mapping[Lane, Space]:
        """Of denoising and of coding; one for both, where both do not run at a time."""
        ...

    @property
    def memory(self) -> TensorMemory:
        """Of all lanes. Its own space is that of coding."""
        ...

    @property
    def parking(self) -> Parking:
        """Where state goes that has to make room."""
        ...

    @property
    def experts_nbytes(self) -> int | None:
        """Room for the weights of experts; None where it is not limited."""
        ...

    def require_served(self, runs: Iterable[GraphRun]) -> None:
        """Raises ResourceError for what nothing here can run. For any thread."""
        ...

    def load(self, bundle: Bundle, graph: str, weight_set: str) -> Executor:
        """An executor on tensors of the space of the graph's lane. Raises BundleError or
        ResourceError."""
        ...

    def new_update(self, tensors: StepTensors[Tensor]) -> Update: ...

    def draw_noise(self, seed: int, segment: int, out: Tensor) -> None:
        """A segment's noise from a job's seed, float32 (see `noise.SeededNoise`), in the space of
        coding."""
        ...

    def make_current(self) -> None:
        """Called by a thread before it uses the backend, if it may be another than before."""
        ...

    def close(self) -> None:
        """Give everything back. Executors are closed before."""
        ...
