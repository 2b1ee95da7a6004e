"""Evidence of a search that never was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName
from wan_trt.export.quantize.evidence import Evidence, ExpertError, LinearEvidence, Trial
from wan_trt.export.quantize.scales import ScalesOrigin

TIMESTEPS: Mapping[str, tuple[int, ...]] = {
    ExpertName.HIGH: (999, 940, 940),
    ExpertName.LOW: (800, 300),
}


def made_up_evidence(linears: Sequence[str]) -> Evidence:
    """Each linear is twice as sensitive as the one before it, and the more so the lower the
    timestep."""
    origin = ScalesOrigin(
        model=ModelName.ANIMATE,
        checkpoint={"model.safetensors": "aa"},
        loras={"high": (), "low": ()},
        boundary=0.9,
        policy="bb",
        method="max",
        sampling={},
        inputs={},
        tools={},
    )
    return Evidence(
        origin=origin,
        budget=0.001,
        timesteps=TIMESTEPS,
        trials=(Trial(len(linears), 0.002), Trial(1, 0.0005)),
        linears={name: _linear(2.0**place) for place, name in enumerate(linears)},
    )


def _linear(factor: float) -> LinearEvidence:
    calls = {
        expert: tuple(factor * (1000 - timestep) * 1e-6 for timestep in timesteps)
        for expert, timesteps in TIMESTEPS.items()
    }
    return LinearEvidence(
        6144, {expert: ExpertError(sum(own) / len(own), own) for expert, own in calls.items()}
    )
