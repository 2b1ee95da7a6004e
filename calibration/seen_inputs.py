"""What a linear has read over many calls: its mean, and some of its rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

MOST_ROWS = 512  # of 5,120 channels 10 MB, for each linear and expert


@dataclass(frozen=True, eq=False)
class SeenInput:
    """`mean` float64 [in] of all rows; `rows` float32 [n, in], drawn evenly from all. Both on the
    CPU."""

    mean: torch.Tensor
    rows: torch.Tensor


class InputObserver:
    """Sees a tensor [.., channels] in call after call. The same calls draw the same rows."""

    def __init__(self) -> None:
        self._random = torch.Generator().manual_seed(0)
        self._sum: torch.Tensor | None = None
        self._count = 0
        self._rows = torch.empty(0)
        self._ranks = torch.empty(0)

    def see(self, tensor: torch.Tensor) -> None:
        """Leaves the tensor as it is."""
        rows = tensor.detach().reshape(-1, tensor.shape[-1])
        total = rows.sum(0, dtype=torch.float64)
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(rows)
        self._draw(rows)

    def _draw(self, rows: torch.Tensor) -> None:
        """Each row has a rank by chance, and those with the lowest are kept."""
        had = len(self._ranks)
        ranks = torch.cat([self._ranks, torch.rand(len(rows), generator=self._random)])
        lowest = ranks.argsort()[:MOST_ROWS]
        old, new = lowest[lowest < had], lowest[lowest >= had]
        if len(new):
            taken = rows[(new - had).to(rows.device)].cpu()
            self._rows = torch.cat([self._rows[old], taken]) if had else taken
            self._ranks = ranks[torch.cat([old, new])]

    def seen(self) -> SeenInput:
        """It has seen something."""
        assert self._sum is not None, "ranges are asked for first"
        return SeenInput((self._sum / self._count).cpu(), self._rows)
