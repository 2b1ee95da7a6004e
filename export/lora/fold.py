"""Folding: a tensor source that hands out the model's weights with the deltas added, in fp32."""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import reduce

import torch

from wan_trt.engine.errors import LoraError
from wan_trt.engine.manifest import Change, Fold, FoldNorms
from wan_trt.engine.request import ExpertName
from wan_trt.export.lora.adapter_file import AdapterFile
from wan_trt.export.lora.delta import Delta
from wan_trt.export.lora.faults import Fault
from wan_trt.export.lora.finite import is_finite
from wan_trt.export.lora.match import LoraFile, match
from wan_trt.export.lora.spec import LoraSpec, LoraStacks
from wan_trt.export.tensors import TensorSource

_BLOCK_NBYTES = 1 << 22


class Norms:
    """|change| and |weight| of the tensors one file changes; it fills as they are folded."""

    def __init__(self) -> None:
        self._of: dict[str, FoldNorms] = {}

    def add(self, target: str, norms: FoldNorms) -> None:
        self._of[target] = norms

    def ratio(self, targets: Iterable[str]) -> float | None:
        """|change| / |weight| over all these tensors; None if none of them was folded."""
        found = [self._of[name] for name in targets if name in self._of]
        if not found:
            return None
        change = math.hypot(*(norms.change for norms in found))
        return change / (math.hypot(*(norms.weight for norms in found)) or 1.0)


class FoldedTensors:
    """`base` with a stack of LoRA files folded in; deltas are computed when a tensor is read.

    `norms[i]` belongs to file i, so that an adapter that is far too strong is seen.
    """

    def __init__(self, base: TensorSource, files: Sequence[LoraFile] = ()) -> None:
        self.base = base
        self._files = tuple(files)
        # target -> index of a file -> its deltas for the target
        self._deltas: dict[str, dict[int, list[Delta]]] = {}
        for index, file in enumerate(files):
            for delta in file.deltas:
                # Strength 0 changes nothing, not even the sign of a zero.
                if delta.strength != 0:
                    by_file = self._deltas.setdefault(delta.target, {})
                    by_file.setdefault(index, []).append(delta)
        self.norms = tuple(Norms() for _ in files)

    @property
    def targets(self) -> Collection[str]:
        """The changed tensors."""
        return self._deltas.keys()

    def names(self) -> Iterable[str]:
        return self.base.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.base.shape(name)

    def folds(self, name: str) -> tuple[Fold, ...]:
        """What is added to a tensor, for the record: one entry for each file that changes it."""
        return tuple(
            Fold(
                self._files[index].sha256,
                name,
                tuple(Change(d.keys, d.strength, d.scale, d.half) for d in deltas),
            )
            for index, deltas in self._deltas.get(name, {}).items()
        )

    def record(self, name: str, norms: Sequence[FoldNorms]) -> None:
        """Note the norms of a tensor's folds, measured here or by an equal fold before."""
        for index, measured in zip(self._deltas.get(name, {}), norms, strict=True):
            self.norms[index].add(name, measured)

    def fold(
        self, name: str, base: torch.Tensor, dtype: torch.dtype = torch.float32
    ) -> tuple[torch.Tensor, tuple[FoldNorms, ...]]:
        """`base`, the tensor `name` as float32, with its deltas added, rounded to `dtype`; and the
        norms of its folds.

        Without deltas that is `base` itself, else memory of its own. Raises LoraError when the
        folded weight is not finite.
        """
        by_file = self._deltas.get(name)
        if not by_file:
            return base, ()
        changes = [[delta.by_rows(base) for delta in deltas] for deltas in by_file.values()]
        folded = torch.empty_like(base, dtype=dtype)
        norms: list[list[FoldNorms]] = [[] for _ in changes]
        # All that happens to some rows happens while they are in the processor's cache.
        for rows in _blocks(base):
            total = base[rows]
            weight = float(torch.linalg.vector_norm(total))
            for of_file, measured in zip(changes, norms, strict=True):
                change = reduce(torch.add, (by_rows(rows) for by_rows in of_file))
                measured.append(FoldNorms(float(torch.linalg.vector_norm(change)), weight))
                total = total + change
            if not is_finite(total):
                raise self._not_finite(name)
            folded[rows] = total
        return folded, tuple(_joined(measured) for measured in norms)

    def _not_finite(self, name: str) -> LoraError:
        keys = [key for deltas in self._deltas[name].values() for d in deltas for key in d.keys]
        return LoraError(
            f"{name} becomes NaN or infinite with {', '.join(keys)}",
            kind=Fault.NON_FINITE,
            keys=keys,
            expected="a finite folded weight",
            action="lower the strength, or fetch the LoRA again",
        )

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        """Float32. Raises LoraError when the folded weight is not finite."""
        folded, norms = self.fold(name, self.base.read(name))
        self.record(name, norms)
        return folded if rows is None else folded[rows].clone()


def _blocks(tensor: torch.Tensor) -> Iterator[slice]:
    """Rows of about `_BLOCK_NBYTES` each."""
    count = tensor.shape[0] if tensor.dim() else 1
    step = max(1, count * _BLOCK_NBYTES // max(1, tensor.nbytes))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def _joined(parts: Sequence[FoldNorms]) -> FoldNorms:
    """Norms of the whole from those of its rows."""
    return FoldNorms(
        math.hypot(*(part.change for part in parts)), math.hypot(*(part.weight for part in parts))
    )


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
