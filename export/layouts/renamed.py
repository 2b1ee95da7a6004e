"""Tensor sources that offer another source's tensors under other names, lazily."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.layouts.correspondence import Correspondence, NameTable
from wan_trt.export.tensors import TensorSource


class PrefixedTensors:
    """The tensors whose names start with `prefix`, without it."""

    def __init__(self, source: TensorSource, prefix: str) -> None:
        self._source = source
        self._prefix = prefix

    def names(self) -> Iterable[str]:
        start = len(self._prefix)
        return [n[start:] for n in self._source.names() if n.startswith(self._prefix)]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._source.shape(self._prefix + name)

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        return self._source.read(self._prefix + name, rows)


class RenamedTensors:
    """Original names over a file with the names of `table`'s other spelling.

    A tensor is read, joined and reshaped when it is asked for; nothing is kept.
    """

    def __init__(self, source: TensorSource, table: NameTable, label: str) -> None:
        """Raises CheckpointError naming what is missing, left over or of a shape that does not
        fit, in the file's own spelling; `label` says whose tensors they are."""
        self._source = source
        self._label = label
        names = set(source.names())
        for problem, found in (
            ("lacks", table.missing(names)),
            ("has tensors that the model does not:", table.unknown(names)),
        ):
            if found:
                raise CheckpointError(
                    f"{label} {problem} {shown(sorted(found))}",
                    expected="all tensors of one model, and no others",
                    action="complete the download, or check that the files belong to this model",
                )
        self._rows = {row.original: row for row in table if names.issuperset(row.parts)}
        self._shapes = {name: self._joined_shape(row) for name, row in self._rows.items()}

    def names(self) -> Iterable[str]:
        return self._rows.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        self._require(name)
        return self._shapes[name]

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        self._require(name)
        row = self._rows[name]
        if row.renames_only:
            return self._source.read(row.parts[0], rows)
        whole = row.join(tuple(self._source.read(part) for part in row.parts))
        return (whole if rows is None else whole[rows]).contiguous()

    def _joined_shape(self, row: Correspondence) -> tuple[int, ...]:
        try:
            return row.join_shapes(self._source.shape(part) for part in row.parts)
        except ValueError as error:
            raise CheckpointError(
                f"{self._label}: {' and '.join(row.parts)} do not make {row.original} ({error})",
                expected="shapes as upstream's",
                action="check that the files belong to this model",
            ) from None

    def _require(self, name: str) -> None:
        if name not in self._rows:
            raise CheckpointError(
                f"{self._label} has no tensor {name}",
                expected="a complete checkpoint",
                action="check that the files belong to this model",
            )


def shown(names: list[str], most: int = 5, between: str = ", ") -> str:
    """The first of many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more
