"""What FP8 attention rounds: three tensors of a block, each with a range of its own (pure).

    blocks.N.self_attn.attention.query    after norm and rotary embedding, times 1/sqrt(head_dim)
    blocks.N.self_attn.attention.key      after norm and rotary embedding
    blocks.N.self_attn.attention.value

The softmax needs no range: it lies between 0 and 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

QUERY, KEY, VALUE = OPERANDS = ("query", "key", "value")

_NAME = re.compile(r"blocks\.(\d+)\.self_attn\.attention\.(query|key|value)")


@dataclass(frozen=True)
class AttentionInput:
    """One of OPERANDS of the self attention of a block."""

    block: int
    operand: str

    @staticmethod
    def parse(name: str) -> AttentionInput | None:
        """None for a linear's name."""
        match = _NAME.fullmatch(name)
        return AttentionInput(int(match[1]), match[2]) if match else None

    @property
    def module(self) -> str:
        """The denoiser's module that reads it."""
        return f"blocks.{self.block}.self_attn.attention"

    @property
    def name(self) -> str:
        return f"{self.module}.{self.operand}"


def attention_inputs(blocks: Iterable[int]) -> frozenset[str]:
    """The names of all three of each block."""
    return frozenset(AttentionInput(block, x).name for block in blocks for x in OPERANDS)


def linears_of(names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that are linears."""
    return tuple(name for name in names if AttentionInput.parse(name) is None)


def blocks_of(names: Iterable[str]) -> tuple[int, ...]:
    """The blocks of whose attention there are inputs among `names`, rising."""
    found = (AttentionInput.parse(name) for name in names)
    return tuple(sorted({one.block for one in found if one}))
