"""What of a graph is rounded to E4M3 (pure).

A denoiser runs at every step, and its products are to be fast: what they read is rounded, matrices
and inputs alike. A context runs once for a prompt, a job or a segment. Products at FP8 would gain
nothing there and rounded inputs only lose, so its linears are E4M3 for the bytes alone: matrices
are rounded, inputs are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wan_trt.engine.models import DENOISER
from wan_trt.export.quantize.attention_inputs import attention_inputs


@dataclass(frozen=True)
class Rounding:
    """`weights`: linears whose matrices are E4M3. `inputs`: what has a range and is rounded by it
    at every launch: inputs of some of these linears, and of attentions (attention_inputs.py)."""

    weights: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()

    @staticmethod
    def of_graph(graph: str, linears: Iterable[str], attention: Iterable[int] = ()) -> Rounding:
        """Of a graph with these FP8 linears. `attention`: the denoiser's blocks whose self
        attention is FP8; no other graph has any."""
        weights = frozenset(linears)
        if graph != DENOISER:
            return Rounding(weights)
        return Rounding(weights, weights | attention_inputs(attention))

    @staticmethod
    def of_all(graphs: Mapping[str, Rounding]) -> Rounding:
        """All graphs as one: no two have a linear of one name."""
        own = graphs.values()
        return Rounding(
            frozenset().union(*(each.weights for each in own)),
            frozenset().union(*(each.inputs for each in own)),
        )

    @property
    def names(self) -> frozenset[str]:
        """Whatever is rounded in some way."""
        return self.weights | self.inputs


NOTHING = Rounding()
