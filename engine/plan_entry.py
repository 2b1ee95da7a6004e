"""What a manifest says of a TensorRT plan: what it is for, where it runs, how it was judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class SymbolRange:
    """The values of a symbol that a plan serves; it was tuned for `best`."""

    least: int
    best: int
    most: int

    @staticmethod
    def fixed(value: int) -> SymbolRange:
        return SymbolRange(value, value, value)

    @property
    def is_fixed(self) -> bool:
        return self.least == self.most

    def __contains__(self, value: int) -> bool:
        return self.least <= value <= self.most

    def __str__(self) -> str:
        return str(self.best) if self.is_fixed else f"{self.least}..{self.most}"


def plan_name(graph: str, weight_set: str, symbols: Mapping[str, SymbolRange]) -> str:
    """`denoiser-high-columns80-frames21-rows45`: how files and messages call a plan."""
    sizes = (f"{name}{str(values).replace('..', 'to')}" for name, values in sorted(symbols.items()))
    return "-".join((graph, weight_set, *sizes))


@dataclass(frozen=True)
class Gpu:
    """Where a plan was built. Plans and timings belong to one model of GPU, by the name that the
    driver gives it: kernels are chosen for its multiprocessors, memory and clocks too, and
    TensorRT warns of slow work and errors on another one of the same `compute_capability` ("9.0"),
    as an H200 is beside an H100. A MIG slice has a name of its own."""

    name: str
    compute_capability: str
    driver: str


@dataclass(frozen=True)
class FusionRecord:
    """What the engine inspector showed: how many attentions and FP8 linears the graph has, and
    which of them did not become one kernel. `required`: such a plan was to be refused."""

    attentions: int
    fp8_linears: int
    unfused: tuple[str, ...]
    required: bool


@dataclass(frozen=True)
class ParityRecord:
    """The plan against ONNX Runtime on inputs drawn from `seed`. `numbers` has the worst value of
    each quantity, None where it is not finite; `failed` names those out of bounds."""

    seed: int
    numbers: Mapping[str, float | None]
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanEntry:
    """A plan of graph `graph` with one weight set, for these values of the graph's symbols.

    `file` and `model` are paths inside the bundle: the plan, and the ONNX graph that TensorRT was
    given, which a plan without weights (`stripped`) needs to get them at load. `refittable` names
    the parameters that may be exchanged for others. `scratch_nbytes` is the memory that a context
    needs beside weights, inputs and outputs. `fusions` and `parity` are None where nobody looked.
    """

    graph: str
    weight_set: str
    symbols: Mapping[str, SymbolRange]
    file: str
    model: str
    sha256: str
    nbytes: int
    gpu: Gpu
    tensorrt: str
    scratch_nbytes: int
    stripped: bool = False
    refittable: tuple[str, ...] = ()
    fusions: FusionRecord | None = None
    parity: ParityRecord | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return plan_name(self.graph, self.weight_set, self.symbols)

    def serves(self, sizes: Mapping[str, int]) -> bool:
        """Whether it runs with these values of its symbols; others may be among them."""
        return all(
            symbol in sizes and sizes[symbol] in values for symbol, values in self.symbols.items()
        )

    def runs_on(self, gpu: str, tensorrt: str | None) -> bool:
        """Whether it was built for this model of GPU and this TensorRT; None: there is none."""
        return (self.gpu.name, self.tensorrt) == (gpu, tensorrt)

    def takes_the_place_of(self, other: PlanEntry) -> bool:
        """Whether both are for the same: a bundle has one plan of each kind."""
        return self._purpose == other._purpose

    @property
    def _purpose(self) -> tuple[str, ...]:
        return self.name, self.gpu.name, self.tensorrt


def find_plan(
    plans: Iterable[PlanEntry],
    graph: str,
    weight_set: str,
    sizes: Mapping[str, int],
    gpu: str,
    tensorrt: str,
) -> PlanEntry | None:
    """The plan for a graph at these sizes on this model of GPU and TensorRT; None if there is
    none."""
    return next(
        (
            plan
            for plan in plans
            if (plan.graph, plan.weight_set) == (graph, weight_set)
            and plan.runs_on(gpu, tensorrt)
            and plan.serves(sizes)
        ),
        None,
    )
