"""How files call the modules of a Wan DiT: original names, diffusers names, both flattened.

    original                    diffusers
    blocks.0.self_attn.q        blocks.0.attn1.to_q
    blocks.0.norm3              blocks.0.norm2      (diffusers' norm3 has no weights)
    face_adapter.fuser_blocks.0.linear1_kv          face_adapter.0.to_k and .to_v, its halves

Which of them are the same is said by layouts/dit_names.py. Flattened names have underscores for
dots, so they cannot be taken apart: they are looked up in a table made from the model's own
tensors. It also holds mixtures of both spellings (blocks_0_self_attn_to_out_0), which trainers have
written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product

from wan_trt.export.layouts.dit_names import dit_rows

# A module has one of these tensors.
_LEAVES = ("weight", "bias", "modulation")

# blocks.0.self_attn.q: trainers exchange the names of attention and projection apart.
_ATTENTION = re.compile(r"(blocks\.\d+)\.(self_attn|cross_attn|attn1|attn2)\.(.+)")


@dataclass(frozen=True)
class Place:
    """A module of the model, or a half of its rows: 0 the first, 1 the second."""

    module: str
    half: int | None = None


class ModuleNames:
    """Every name under which a module of one model may appear."""

    def __init__(self, tensors: Iterable[str]) -> None:
        tensors = list(tensors)
        parts = (name.rpartition(".") for name in tensors)
        modules = dict.fromkeys(head for head, _, leaf in parts if leaf in _LEAVES)
        self._dotted = {module: Place(module) for module in modules}
        for alias, place in _aliases(tensors):
            if place.module in modules:
                self._dotted.setdefault(alias, place)
        self._flat: dict[str, Place] = {}
        for alias, place in self._dotted.items():
            self._flat.setdefault(alias.replace(".", "_"), place)

    def find(self, name: str) -> Place | None:
        """The module of a dotted name without prefix."""
        return self._dotted.get(name)

    def find_flat(self, name: str) -> Place | None:
        """The module of a name with some or all dots replaced by underscores."""
        return self._flat.get(name.replace(".", "_"))

    def nearest(self, name: str) -> str:
        """The original name of the module whose name is most like `name`; empty if none is."""
        near = get_close_matches(name.replace(".", "_"), self._flat, n=1)
        return self._flat[near[0]].module if near else ""


def _aliases(tensors: Iterable[str]) -> Iterator[tuple[str, Place]]:
    """Other names of modules, made from diffusers' names of their tensors."""
    for row in dit_rows(tensors):
        module, _, leaf = row.original.rpartition(".")
        for index, part in enumerate(row.parts):
            name, _, theirs = part.rpartition(".")
            if leaf == theirs and leaf in _LEAVES:
                place = Place(module, index if len(row.parts) > 1 else None)
                yield from ((alias, place) for alias in (name, *_mixtures(module, name)))


def _mixtures(original: str, diffusers: str) -> Iterator[str]:
    """Names of an attention's projection that are half of one spelling, half of the other."""
    mine, theirs = _ATTENTION.fullmatch(original), _ATTENTION.fullmatch(diffusers)
    if mine and theirs:
        block, parents = mine[1], (mine[2], theirs[2])
        for parent, child in product(parents, (mine[3], theirs[3], theirs[3].removesuffix(".0"))):
            yield f"{block}.{parent}.{child}"
