"""Correspondence: a tensor of the original repository and what another spelling has for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod

import torch

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class View:
    """How two spellings shape the same values; there and back again changes nothing."""

    to_original: Callable[[torch.Tensor], torch.Tensor]
    from_original: Callable[[torch.Tensor], torch.Tensor]


SAME = View(lambda t: t, lambda t: t)
CHANNELS = View(lambda t: t.reshape(1, -1, 1, 1), torch.flatten)  # [1, C, 1, 1] <- [C]
TOKEN = View(lambda t: t.reshape(1, 1, -1), torch.flatten)  # [1, 1, C] <- [C]
BATCH_OF_ONE = View(lambda t: t.unsqueeze(0), lambda t: t.squeeze(0))  # [1, T, C] <- [T, C]
TRANSPOSED = View(lambda t: t.t(), lambda t: t.t())


@dataclass(frozen=True)
class Correspondence:
    """`original` is made of `parts`, joined in equal shares along the first dimension.

    A `constant` is what the other spelling leaves out because every checkpoint has the same: it
    has no parts. What is not `required` may be absent, in both spellings.
    """

    original: str
    parts: tuple[str, ...]
    view: View = SAME
    constant: Callable[[], torch.Tensor] | None = None
    required: bool = True

    @property
    def renames_only(self) -> bool:
        """Whether the other spelling has the same tensor under another name."""
        return self.view is SAME and len(self.parts) == 1

    def join(self, parts: Tensors) -> torch.Tensor:
        """The original tensor, of the values of `parts`."""
        if self.constant is not None and not parts:
            return self.constant()
        return self.view.to_original(parts[0] if len(parts) == 1 else torch.cat(parts))

    def split(self, original: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors of the other spelling by name; none for a constant."""
        if not self.parts:
            return {}
        shares = self.view.from_original(original).chunk(len(self.parts))
        return dict(zip(self.parts, shares, strict=True))

    def join_shapes(self, shapes: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
        """The original tensor's shape. Raises ValueError where the parts do not fit together."""
        parts = tuple(torch.empty(shape, device="meta") for shape in shapes)
        try:
            joined = self.join(parts)
        except (RuntimeError, IndexError) as error:
            raise ValueError(str(error).splitlines()[0]) from None
        if any(part.shape != parts[0].shape for part in parts):
            raise ValueError(f"parts of shapes {[list(part.shape) for part in parts]}")
        if parts and joined.numel() != sum(prod(part.shape) for part in parts):
            raise ValueError(f"{[list(part.shape) for part in parts]} is not one row")
        return tuple(joined.shape)


@dataclass(frozen=True)
class NameTable:
    """All tensors of one part of a model.

    `ignored` says which names of the other spelling carry nothing that a model is made of.
    """

    rows: tuple[Correspondence, ...]
    ignored: re.Pattern[str] = re.compile(r"(?!)")

    def __iter__(self) -> Iterator[Correspondence]:
        return iter(self.rows)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Names of the other spelling that are not among `names` and cannot be done without."""
        there = set(names)
        return [
            part
            for row in self.rows
            for part in row.parts
            # of a row that need not be there, half is still an error
            if part not in there and (row.required or not there.isdisjoint(row.parts))
        ]

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Those of `names`, in the other spelling, that the table has no use for."""
        known = {part for row in self.rows for part in row.parts}
        return [n for n in names if n not in known and not self.ignored.fullmatch(n)]

    def as_original(self, names: Iterable[str], prefix: str = "") -> NameTable:
        """The table of files with original names themselves, less `prefix` where they lack it.

        Constants are taken from the file where it has them.
        """
        there = set(names)
        rows = []
        for row in self.rows:
            name = row.original.removeprefix(prefix)
            if row.constant is None or name in there:
                rows.append(replace(row, parts=(name,), view=SAME, constant=None))
            else:
                rows.append(row)
        return replace(self, rows=tuple(rows))


def modules(
    original: str, other: str, pairs: Iterable[tuple[str, str]], *, required: bool = True
) -> list[Correspondence]:
    """Weight and bias of modules below two prefixes."""
    return tensors(
        original,
        other,
        ((f"{a}.{part}", f"{b}.{part}") for a, b in pairs for part in ("weight", "bias")),
        required=required,
    )


def tensors(
    original: str, other: str, pairs: Iterable[tuple[str, str]], *, required: bool = True
) -> list[Correspondence]:
    """Single tensors below two prefixes."""
    return [Correspondence(original + a, (other + b,), required=required) for a, b in pairs]


def count(names: Iterable[str], pattern: str) -> int:
    """One more than the largest number that `pattern` captures at the start of a name."""
    found = (re.match(pattern, name) for name in names)
    return max((int(match[1]) + 1 for match in found if match), default=0)
