"""Checkpoints out of a job's tensors, and back: the only place that touches both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.checkpoint import Checkpoint, SamplerState
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.job import JobTensors
from wan_trt.engine.scheduler import Stage


def take_snapshot(cursor: Cursor, tensors: JobTensors) -> Checkpoint:
    """A copy of all that the units from `cursor` on need."""
    carried = tensors.carried.copy() if cursor.segment else None
    match cursor.stage:
        case Stage.RESULT:
            return Checkpoint(cursor)
        case Stage.DECODE:
            return Checkpoint(cursor, sampler=_sampler_state(tensors))
        case Stage.DENOISE if cursor.step:
            return Checkpoint(cursor, carried, _sampler_state(tensors))
        case _:  # the noise is drawn again
            return Checkpoint(Cursor(cursor.segment), carried)


def clean_estimate(tensors: JobTensors) -> NDArray[np.float32]:
    """The newest estimate of the clean latents, float32 [16, F, h, w], or the noise before there
    is one; a copy."""
    models = tensors.history.models
    return (models[0] if models else tensors.denoiser.latents).copy()


def restore_carried(checkpoint: Checkpoint, tensors: JobTensors) -> None:
    """What the segment before handed over: before the segment is conditioned."""
    if checkpoint.carried is not None:
        np.copyto(tensors.carried, checkpoint.carried)


def restore_sampler(state: SamplerState, tensors: JobTensors) -> None:
    """The middle of the segment, where else its noise would be."""
    np.copyto(tensors.denoiser.latents, state.latents)
    tensors.history.sample = None if state.sample is None else state.sample.copy()
    tensors.history.models = [model.copy() for model in state.models]


def _sampler_state(tensors: JobTensors) -> SamplerState:
    history = tensors.history
    return SamplerState(
        tensors.denoiser.latents.copy(),
        None if history.sample is None else history.sample.copy(),
        tuple(model.copy() for model in history.models),
    )
