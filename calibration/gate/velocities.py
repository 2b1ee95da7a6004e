"""The velocity check: a bundle's experts on what the reference's were given, step by step.

Errors of earlier steps do not count here: every step starts from the reference's latents, and the
contexts from what the reference's were computed from. Keys, values and tokens are the bundle's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_trt.calibration.gate.metrics import cosine, relative_error, share_of_way
from wan_trt.calibration.gate.recording import Launch, Recording
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import Bindings
from wan_trt.engine.executors import Executors, Load
from wan_trt.engine.manifest import SHARED
from wan_trt.engine.models import DENOISER
from wan_trt.engine.request import ExpertName
from wan_trt.engine.stages.denoise import Context


@dataclass(frozen=True)
class VelocityError:
    """Of one pass of the denoiser; see `Launch` for where it stands.

    `confusion` is how far the velocity is on the way from the reference's own expert, 0, to the
    reference's other one, 1; None where the reference has one set of weights for both. `sample`
    is the job's (see `GateJob`).
    """

    expert: ExpertName
    segment: int
    step: int
    timestep: int
    branch: int
    cosine: float
    relative_error: float
    confusion: float | None
    sample: str = ""


def velocity_errors(
    recording: Recording, reference: Bundle, candidate: Bundle, load: Load
) -> tuple[VelocityError, ...]:
    """In the recording's order. One expert at a time is in memory, and of each of its contexts one
    segment's."""
    launches = recording.launches
    others: dict[int, str] = {}
    if any(SHARED not in graph.weights for graph in reference.manifest.graphs.values()):
        swapped = [_other(launch.expert) for launch in launches]
        for index, velocity in _repeated(recording, reference, load, swapped):
            others[index] = recording.keep(velocity)
    found: dict[int, VelocityError] = {}
    own = [launch.expert for launch in launches]
    for index, velocity in _repeated(recording, candidate, load, own):
        other = recording.tensor(others[index]) if others else None
        found[index] = _compare(recording, launches[index], velocity, other)
    return tuple(found[index] for index in range(len(launches)))


def _compare(
    recording: Recording, launch: Launch, velocity: NDArray[Any], other: NDArray[Any] | None
) -> VelocityError:
    expected = recording.tensor(launch.velocity)
    return VelocityError(
        launch.expert,
        launch.segment,
        launch.step,
        launch.timestep,
        launch.branch,
        cosine(expected, velocity),
        relative_error(expected, velocity),
        None if other is None else share_of_way(expected, other, velocity),
    )


def _repeated(
    recording: Recording, bundle: Bundle, load: Load, experts: Sequence[ExpertName]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """(index of a launch, velocity that the bundle's expert at that index of `experts` has for
    it), one expert after the other; the velocity is valid until the next one."""
    executors = Executors(bundle, load)
    for expert in ExpertName:
        indices = [index for index, chosen in enumerate(experts) if chosen is expert]
        # Branch by branch: each has contexts of its own, of which one is kept at a time.
        indices.sort(key=lambda index: recording.launches[index].branch)
        launches = [recording.launches[index] for index in indices]
        velocities = _velocities(executors, expert, recording, launches)
        yield from zip(indices, velocities, strict=True)
        executors.close()


def _velocities(
    executors: Executors, expert: ExpertName, recording: Recording, launches: Sequence[Launch]
) -> Iterator[NDArray[Any]]:
    contexts: dict[str, Context] = {}
    bindings: Bindings | None = None
    loaded: dict[str, str] = {}
    for launch in launches:
        computed: dict[str, NDArray[Any]] = {}
        for run in launch.contexts:
            context = contexts.setdefault(run.graph, Context(executors, run.graph, run.sizes))
            inputs = {name: recording.tensor(tensor) for name, tensor in run.inputs.items()}
            computed |= context.update(expert, inputs, run.number)
        executor = executors.get(DENOISER, expert)
        if bindings is None:  # all segments of a job have one size
            bindings = executor.bind(launch.sizes, computed)
        for name, tensor in launch.inputs.items():
            if loaded.get(name) != tensor:
                np.copyto(bindings.inputs[name], recording.tensor(tensor))
                loaded[name] = tensor
        executor.launch(bindings)
        yield bindings.outputs["velocity"]


def _other(expert: ExpertName) -> ExpertName:
    return ExpertName.LOW if expert is ExpertName.HIGH else ExpertName.HIGH
