"""Checkpoints out of a job's tensors, and back: the only place that touches both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.checkpoint import Checkpoint
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.job_tensors import JobTensors
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.space import Space, Tensor

CARRIED, LATENTS, SAMPLE, NEWEST, OLDER = "carried", "latents", "sample", "newest", "older"


def take_snapshot(cursor: Cursor, tensors: JobTensors, space: Space) -> Checkpoint:
    """A copy of all that the units from `cursor` on need, once the work before it is done."""
    carried = {CARRIED: tensors.carried.copy()} if cursor.segment else {}
    match cursor.stage:
        case Stage.RESULT:
            return Checkpoint(cursor)
        case Stage.DECODE:
            return Checkpoint(cursor, {LATENTS: space.read(tensors.step.latents)})
        case Stage.DENOISE if cursor.step:
            sampler = {name: space.read(it) for name, it in _sampler(tensors, cursor.step).items()}
            return Checkpoint(cursor, carried | sampler)
        case _:  # the noise is drawn again
            return Checkpoint(Cursor(cursor.segment), carried)


def restore_carried(checkpoint: Checkpoint, tensors: JobTensors) -> None:
    """What the segment before handed over: before the segment is conditioned."""
    if CARRIED in checkpoint.tensors:
        np.copyto(tensors.carried, checkpoint.tensors[CARRIED])


def restore_latents(checkpoint: Checkpoint, tensors: JobTensors, space: Space) -> None:
    """The middle of the segment: latents, and the solver's history where steps are to come."""
    steps = checkpoint.cursor.step if checkpoint.cursor.stage is Stage.DENOISE else 0
    for name, tensor in _sampler(tensors, steps).items():
        space.write(tensor, checkpoint.tensors[name])
    tensors.update.begin_segment(steps)


def clean_estimate(tensors: JobTensors, space: Space) -> NDArray[np.float32]:
    """The newest estimate of the clean latents, float32 [16, F, h, w], when a step is done."""
    return space.read(tensors.step.newest)


def _sampler(tensors: JobTensors, steps: int) -> dict[str, Tensor]:
    """What a segment consists of after so many steps."""
    step = tensors.step
    found = {LATENTS: step.latents}
    if steps:
        found |= {SAMPLE: step.sample, NEWEST: step.newest}
    if steps > 1:
        found[OLDER] = step.older
    return found
