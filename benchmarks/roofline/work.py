"""Floating-point operations of the denoiser, and how long they take at the least. Pure.

A multiplication and an addition are two operations. Counted are matrix products and attentions;
norms, modulation, rotation and activations are not (well under a hundredth).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from roofline.sizes import DitSizes, VideoSize


class Term(StrEnum):
    """What the denoiser consists of."""

    SELF_LINEARS = "self q, k, v, o"
    SELF_ATTENTION = "self attention"
    CROSS_LINEARS = "cross q, o"
    CROSS_ATTENTION = "cross attention"
    FFN = "feed forward"
    FACE_LINEARS = "face q, o"
    FACE_ATTENTION = "face attention"
    ENDS = "patch embedding, time, head"


class Linears(StrEnum):
    """How the linears of blocks and face blocks compute. FP8 is E4M3 for inputs (one scale, fixed
    beforehand) and weights (one scale, or one for each column)."""

    BF16 = "bf16"
    FP8 = "fp8"
    FP8_COLUMNS = "fp8 columns"


class Attention(StrEnum):
    """Kernels of self attention."""

    MATH = "math"
    EFFICIENT = "efficient"
    FLASH = "flash"
    CUDNN = "cudnn"
    FLASH_3 = "flash 3"
    SAGE = "sage"
    TRITON_FP8 = "triton fp8"

    @property
    def eight_bit(self) -> bool:
        return self in (Attention.SAGE, Attention.TRITON_FP8)


FP8_LINEARS = frozenset({Term.SELF_LINEARS, Term.CROSS_LINEARS, Term.FFN, Term.FACE_LINEARS})


@dataclass(frozen=True)
class Work:
    """Operations by the width of what is multiplied."""

    bf16: int = 0
    eight_bit: int = 0

    @property
    def total(self) -> int:
        return self.bf16 + self.eight_bit


@dataclass(frozen=True)
class Ceilings:
    """The fastest that was measured, operations and bytes a second; None what does not run."""

    bf16: float
    fp8: float | None = None
    copy: float | None = None

    def least_s(self, work: Work) -> float:
        """Seconds with every multiplier busy."""
        return work.bf16 / self.bf16 + work.eight_bit / (self.fp8 or self.bf16)


def block_terms(dit: DitSizes, tokens: int) -> dict[Term, int]:
    """One block, its face block not among it."""
    square = tokens * dit.dim**2
    context = dit.text_keys + dit.image_keys
    return {
        Term.SELF_LINEARS: 8 * square,
        Term.SELF_ATTENTION: attention_operations(dit, tokens),
        Term.CROSS_LINEARS: 4 * square,
        Term.CROSS_ATTENTION: 4 * tokens * context * dit.dim,
        Term.FFN: 4 * tokens * dit.dim * dit.ffn,
    }


def attention_operations(dit: DitSizes, tokens: int) -> int:
    """Of one self attention: scores, and the sum of values."""
    return 4 * tokens**2 * dit.dim


def denoiser_terms(dit: DitSizes, video: VideoSize) -> dict[Term, int]:
    """One forward pass."""
    tokens = video.tokens
    terms = {t: dit.layers * count for t, count in block_terms(dit, tokens).items()}
    terms[Term.FACE_LINEARS] = dit.face_layers * 4 * tokens * dit.dim**2
    terms[Term.FACE_ATTENTION] = dit.face_layers * 4 * tokens * dit.face_keys * dit.dim
    patch = 4 * dit.latent_channels
    time = 2 * dit.dim * (dit.frequency_dim + dit.dim + 6 * dit.dim)
    terms[Term.ENDS] = 4 * tokens * patch * dit.dim + time
    return terms


def work(terms: Mapping[Term, int], linears: Linears, attention: Attention) -> Work:
    """The terms by width: other attentions than self attention stay in bfloat16."""
    eight_bit = sum(
        count
        for term, count in terms.items()
        if (term in FP8_LINEARS and linears is not Linears.BF16)
        or (term is Term.SELF_ATTENTION and attention.eight_bit)
    )
    return Work(sum(terms.values()) - eight_bit, eight_bit)
