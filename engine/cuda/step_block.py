"""The numbers of one denoising step, as they lie in device memory.

The denoiser reads its timestep there and the solver's kernel its coefficients, always at the same
address: a captured step is replayed with other numbers by writing the block again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.solver import Combination, StepCoefficients

NUMBERS = np.dtype(
    [
        ("sigma", np.float32),
        ("guidance", np.float32),
        ("corrector_sample", np.float32),
        ("corrector", np.float32, 3),
        ("predictor_sample", np.float32),
        ("predictor", np.float32, 2),
        ("guided", np.uint32),
        ("corrector_terms", np.uint32),
        ("predictor_terms", np.uint32),
        ("ordinal", np.uint32),
    ]
)
"""`StepNumbers` of kernels/solver_update.cu."""

TIMESTEP_OFFSET = 0
NUMBERS_OFFSET = 256  # what backends bind must be aligned so
STEP_BLOCK_NBYTES = 512


def step_block(
    timestep: int, coefficients: StepCoefficients, guidance: float | None, done: int
) -> NDArray[np.uint8]:
    """The block, uint8 [512], of a step before which `done` steps of its segment have run.

    `guidance` None means that there is no unconditional velocity.
    """
    block = np.zeros(STEP_BLOCK_NBYTES, np.uint8)
    block[TIMESTEP_OFFSET : TIMESTEP_OFFSET + 8].view(np.int64)[0] = timestep
    numbers = block[NUMBERS_OFFSET : NUMBERS_OFFSET + NUMBERS.itemsize].view(NUMBERS)[0]
    numbers["sigma"] = coefficients.sigma
    numbers["guidance"] = 1 if guidance is None else guidance
    numbers["guided"] = guidance is not None
    numbers["ordinal"] = done + 1
    if done and coefficients.corrector is not None:
        _write(numbers, "corrector", coefficients.corrector, done)
    _write(numbers, "predictor", coefficients.predictor, done)
    return block


def _write(numbers: np.void, name: str, combination: Combination, done: int) -> None:
    """As many terms as there are estimates: this step's, and those of steps before it."""
    weights = combination.models[: done + 1]
    numbers[f"{name}_sample"] = combination.sample
    numbers[name][: len(weights)] = weights
    numbers[f"{name}_terms"] = len(weights)
