"""Folding: a tensor source that hands out the model's weights with the deltas added, in fp32."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import reduce
from itertools import groupby
from operator import itemgetter

import torch

from wan_trt.engine.errors import LoraError
from wan_trt.engine.request import ExpertName
from wan_trt.export.lora.adapter_file import AdapterFile
from wan_trt.export.lora.delta import Delta
from wan_trt.export.lora.faults import Fault
from wan_trt.export.lora.finite import is_finite
from wan_trt.export.lora.match import LoraFile, match
from wan_trt.export.lora.spec import LoraSpec, LoraStacks
from wan_trt.export.tensors import TensorSource


class Norms:
    """|change| and |weight| of the tensors one file changes; it fills as they are folded."""

    def __init__(self) -> None:
        self._squares: dict[str, tuple[float, float]] = {}

    def add(self, target: str, change: torch.Tensor, base_norm: float) -> None:
        norm = float(torch.linalg.vector_norm(change))
        self._squares[target] = (norm**2, base_norm**2)

    def adopt(self, other: Norms, target: str) -> None:
        """Take over what another fold of the same deltas measured."""
        if target in other._squares:
            self._squares[target] = other._squares[target]

    def ratio(self, targets: Iterable[str]) -> float | None:
        """|change| / |weight| over all these tensors; None if none of them was folded."""
        found = [self._squares[name] for name in targets if name in self._squares]
        if not found:
            return None
        change, base = (math.sqrt(sum(column)) for column in zip(*found, strict=True))
        return change / (base or 1.0)


class FoldedTensors:
    """`base` with a stack of LoRA files folded in; deltas are computed when a tensor is read.

    `norms[i]` belongs to file i, so that an adapter that is far too strong is seen.
    """

    def __init__(self, base: TensorSource, files: Sequence[LoraFile]) -> None:
        self._base = base
        self._deltas: dict[str, list[tuple[int, Delta]]] = {}
        self._targets: dict[str, list[Delta]] = {}
        for index, file in enumerate(files):
            for delta in file.deltas:
                # Strength 0 changes nothing, not even the sign of a zero.
                if delta.strength != 0:
                    self._deltas.setdefault(delta.target, []).append((index, delta))
                    self._targets.setdefault(delta.target, []).append(delta)
        self.norms = tuple(Norms() for _ in files)

    @property
    def targets(self) -> Mapping[str, Sequence[Delta]]:
        """The changed tensors and their deltas."""
        return self._targets

    def names(self) -> Iterable[str]:
        return self._base.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._base.shape(name)

    def adopt_norms(self, other: FoldedTensors, names: Iterable[str]) -> None:
        """For tensors whose deltas are those of `other`, and that only it has read."""
        for name in names:
            pairs = zip(self._deltas.get(name, ()), other._deltas.get(name, ()), strict=True)
            for (mine, _), (theirs, _) in pairs:
                self.norms[mine].adopt(other.norms[theirs], name)

    def read(self, name: str) -> torch.Tensor:
        """Float32. Raises LoraError when the folded weight is not finite."""
        base = self._base.read(name)
        deltas = self._deltas.get(name)
        if not deltas:
            return base
        # Two tensors of this size live beside the base, however high the stack.
        norm = float(torch.linalg.vector_norm(base))
        folded: torch.Tensor | None = None
        for index, group in groupby(deltas, key=itemgetter(0)):
            change = reduce(torch.Tensor.add_, (delta.change(base) for _, delta in group))
            self.norms[index].add(name, change, norm)
            folded = change if folded is None else folded.add_(change)
        assert folded is not None
        folded.add_(base)
        if not is_finite(folded):
            keys = [key for _, delta in deltas for key in delta.keys]
            raise LoraError(
                f"{name} becomes NaN or infinite with {', '.join(keys)}",
                kind=Fault.NON_FINITE,
                keys=keys,
                expected="a finite folded weight",
                action="lower the strength, or fetch the LoRA again",
            )
        return folded


def read_files(
    specs: Iterable[LoraSpec], model: TensorSource, *, allow_unmatched: bool = False
) -> tuple[LoraFile, ...]:
    """Read every file against a model that has one DiT. Raises LoraError for the first that does
    not fit."""
    return tuple(
        match(
            AdapterFile.open(spec.path, spec.config),
            spec,
            model,
            allow_unmatched=allow_unmatched,
        )
        for spec in specs
    )


def read_stacks(
    stacks: LoraStacks,
    models: Mapping[ExpertName, TensorSource],
    *,
    foldable: Container[str] | None = None,
    allow_unmatched: bool = False,
) -> dict[ExpertName, tuple[LoraFile, ...]]:
    """Each expert's files, read against its model; a file for both experts is divided.

    What the experts share is opened once: equal deltas compare equal, so that experts with the
    same base need one weight set where they have the same stack. `foldable`: see `match`.
    Raises LoraError like `read_files`, and for a file given to one expert that is all for the
    other.
    """
    own = {ExpertName.HIGH: stacks.high, ExpertName.LOW: stacks.low}
    used = {*stacks.both, *(spec for expert in models for spec in own[expert])}
    opened = {spec: AdapterFile.open(spec.path, spec.config) for spec in used}
    files: dict[ExpertName, tuple[LoraFile, ...]] = {}
    for expert, model in models.items():
        files[expert] = tuple(
            match(
                opened[spec],
                spec,
                model,
                expert=expert,
                shared=index < len(stacks.both),
                foldable=foldable,
                allow_unmatched=allow_unmatched,
            )
            for index, spec in enumerate((*stacks.both, *own[expert]))
        )
    return files
