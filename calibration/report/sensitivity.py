"""How much each linear suffers when it alone is FP8, by the search for the bundle's policy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.manifest import Provenance
from wan_trt.export.quantize.evidence import SENSITIVITY, Evidence, worst

_FP8 = "float8_e4m3fn"


@dataclass(frozen=True)
class Sensitivity:
    """`fp8` are the bundle's FP8 linears; `own` tells whether the evidence was measured on the
    checkpoint and the LoRAs of the bundle, or the policy was found on others."""

    evidence: Evidence
    fp8: frozenset[str]
    own: bool

    @staticmethod
    def of(bundle: Bundle) -> Sensitivity | None:
        """None where no search has found the bundle's policy. Raises BundleError for a file that
        is damaged."""
        if SENSITIVITY not in bundle.manifest.files:
            return None
        evidence = Evidence.read(bundle.path / SENSITIVITY)
        fp8 = {
            parameter.removesuffix(".weight")
            for graph in bundle.manifest.graphs.values()
            for tensors in graph.weights.values()
            for parameter, tensor in tensors.items()
            if tensor.made.dtype == _FP8
        }
        own = _sources(bundle.manifest.provenance) == (
            dict(evidence.origin.checkpoint),
            [
                (expert, use.sha256, use.strength)
                for expert, uses in evidence.origin.loras.items()
                for use in uses
            ],
        )
        return Sensitivity(evidence, frozenset(fp8), own)

    def most(self, count: int) -> Mapping[str, float]:
        """The most sensitive linears first: ||change|| / ||velocity|| of the worse expert."""
        errors = {name: worst(x.alone.values()) ** 0.5 for name, x in self.evidence.linears.items()}
        return dict(sorted(errors.items(), key=lambda pair: -pair[1])[:count])

    def over_timesteps(self, linear: str) -> list[tuple[float, float]]:
        """(timestep, ||change|| / ||velocity||) with this linear in FP8, falling timesteps, of
        the expert that serves each; the worst where several calls have one."""
        found: dict[int, float] = {}
        for expert, error in self.evidence.linears[linear].alone.items():
            calls = zip(self.evidence.timesteps[expert], error.calls, strict=True)
            for timestep, squared in calls:
                found[timestep] = max(found.get(timestep, 0.0), math.sqrt(squared))
        return [(float(timestep), found[timestep]) for timestep in sorted(found, reverse=True)]


def _sources(provenance: Provenance) -> tuple[dict[str, str], list[tuple[str, str, float]]]:
    """Of a bundle what evidence notes: hashes by file, and the LoRAs of each expert."""
    checkpoint = {name: file.sha256 for name, file in provenance.checkpoint.items()}
    loras = [(lora["expert"], lora["sha256"], lora["strength"]) for lora in provenance.loras]
    return checkpoint, loras
