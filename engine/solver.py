"""Sampling as coefficients: what each step multiplies and adds, without touching a tensor.

The network predicts the velocity v = noise - x0, so m_i = x_i - sigma_i * v_i is its estimate of
the clean latents. All three solvers are linear in the sample and the last few estimates:

    corrector   x_i     <- a * x_{i-1} + b0 * m_i + b1 * m_{i-1} + b2 * m_{i-2}     (UniPC only)
    predictor   x_{i+1}  = c * x_i     + d0 * m_i + d1 * m_{i-1}

`solver_coefficients` gives a, b, c, d for every step as plain numbers; `History` applies them to
float32 arrays, and a device kernel can take the same numbers. m_i is not computed again after
the correction, and x_{i-1} is the corrected sample of the step before.

Sources: DPM-Solver++ (Lu et al. 2022, midpoint form), UniPC (Zhao et al. 2023, B2 variant).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.request import SolverName


@dataclass(frozen=True)
class Combination:
    """sample * x + models[0] * m_i + models[1] * m_{i-1} + .."""

    sample: float
    models: tuple[float, ...]


@dataclass(frozen=True)
class StepCoefficients:
    """One step: m_i = x - sigma * v, then the corrector where there is one, then the predictor."""

    sigma: float
    corrector: Combination | None
    predictor: Combination


def solver_coefficients(
    solver: SolverName, sigmas: Sequence[float]
) -> tuple[StepCoefficients, ...]:
    """Coefficients of every step over falling `sigmas`, the last of which is 0.

    The first may be 1 (pure noise): its log signal-to-noise ratio is minus infinity, and the
    limits come out of the same formulas.
    """
    steps = range(len(sigmas) - 1)
    match solver:
        case SolverName.EULER:
            predictors = [_euler(sigmas, i) for i in steps]
        case SolverName.DPMPP:
            predictors = [_dpmpp(sigmas, i) for i in steps]
        case SolverName.UNIPC:
            predictors = [_unipc_predictor(sigmas, i) for i in steps]
    return tuple(
        StepCoefficients(
            sigmas[i],
            _unipc_corrector(sigmas, i) if solver is SolverName.UNIPC and i else None,
            predictor,
        )
        for i, predictor in enumerate(predictors)
    )


def _log_snr(sigma: float) -> float:
    """lambda = ln((1 - sigma) / sigma), with its limits at 1 and 0."""
    if sigma >= 1:
        return -math.inf
    return math.log((1 - sigma) / sigma) if sigma > 0 else math.inf


def _order(sigmas: Sequence[float], i: int) -> int:
    """2, but 1 on the first step (no history) and on the last (it lands on the estimate)."""
    return 1 if i in (0, len(sigmas) - 2) else 2


def _euler(sigmas: Sequence[float], i: int) -> Combination:
    """x + (sigma' - sigma) * v, written with m instead of v."""
    ratio = sigmas[i + 1] / sigmas[i]
    return Combination(ratio, (1 - ratio,))


def _dpmpp(sigmas: Sequence[float], i: int) -> Combination:
    sigma, target = sigmas[i], sigmas[i + 1]
    h = _log_snr(target) - _log_snr(sigma)
    scale = -(1 - target) * math.expm1(-h)
    if _order(sigmas, i) == 1:
        return Combination(target / sigma, (scale,))
    r = (_log_snr(sigma) - _log_snr(sigmas[i - 1])) / h
    return Combination(target / sigma, (scale * (1 + 0.5 / r), -scale * 0.5 / r))


def _unipc_predictor(sigmas: Sequence[float], i: int) -> Combination:
    sigma, target = sigmas[i], sigmas[i + 1]
    h = _log_snr(target) - _log_snr(sigma)
    scale = -(1 - target) * math.expm1(-h)
    if _order(sigmas, i) == 1:
        return Combination(target / sigma, (scale,))
    r = (_log_snr(sigmas[i - 1]) - _log_snr(sigma)) / h
    return Combination(target / sigma, (scale * (1 - 0.5 / r), scale * 0.5 / r))


def _unipc_corrector(sigmas: Sequence[float], i: int) -> Combination:
    """Repeats the step i-1 -> i, now that m_i is known."""
    source, sigma = sigmas[i - 1], sigmas[i]
    h = _log_snr(sigma) - _log_snr(source)
    decay = math.expm1(-h)
    scale = -(1 - sigma) * decay
    if _order(sigmas, i - 1) == 1:
        return Combination(sigma / source, (0.5 * scale, 0.5 * scale))
    r = (_log_snr(sigmas[i - 2]) - _log_snr(source)) / h
    first = (decay / -h - 1) / decay
    second = 2 * ((decay / -h - 1) / -h - 0.5) / decay
    # rho1 + rho2 = first and r * rho1 + rho2 = second
    rho1 = (second - first) / (r - 1)
    rho2 = first - rho1
    return Combination(
        sigma / source, (scale * rho2, scale * (1 - rho1 / r - rho2), scale * rho1 / r)
    )


@dataclass
class History:
    """What a multistep solver remembers of one segment: it crosses a change of expert.

    `sample` is the (corrected) sample of the step before, `models` the estimates of the clean
    latents, newest first; all float32.
    """

    sample: NDArray[np.float32] | None = None
    models: list[NDArray[np.float32]] = field(default_factory=list)

    def advance(
        self,
        coefficients: StepCoefficients,
        latents: NDArray[np.float32],
        velocity: NDArray[np.float32],
    ) -> None:
        """Replace `latents` by the next sample, in place."""
        self.models.insert(0, latents - np.float32(coefficients.sigma) * velocity)
        if coefficients.corrector is not None and self.sample is not None:
            _combine(coefficients.corrector, self.sample, self.models, out=latents)
        self.sample = latents.copy()
        _combine(coefficients.predictor, self.sample, self.models, out=latents)
        del self.models[2:]


def _combine(
    combination: Combination,
    sample: NDArray[np.float32],
    models: Sequence[NDArray[np.float32]],
    out: NDArray[np.float32],
) -> None:
    np.multiply(sample, np.float32(combination.sample), out=out)
    for weight, model in zip(combination.models, models, strict=False):
        out += np.float32(weight) * model
