"""Self attention by itself, by each kernel."""

from __future__ import annotations

import torch

from roofline.attentions import BACKENDS, SelfAttention, absent, score_nbytes
from roofline.errors import relative
from roofline.results import Setting, Stage
from roofline.session import Session
from roofline.sizes import VideoSize
from roofline.work import Attention, Work, attention_operations

_BUDGET_S = 1.5
_ERROR_QUERIES = 64
_WIDE = (*BACKENDS, Attention.FLASH_3)


def fastest_wide(session: Session, video: VideoSize) -> Attention:
    """Measures the kernels that compute in bfloat16; the fastest, `flash` where none ran."""
    taken = {kind: seconds for kind in _WIDE if (seconds := measure(session, kind, video))}
    return min(taken, key=lambda kind: taken[kind], default=Attention.FLASH)


def measure(session: Session, kind: Attention, video: VideoSize) -> float | None:
    """Seconds of one self attention, None where it did not run. Triton's kernel is first given
    its fastest tile."""
    what = f"{kind} attention at {video}"
    if (why := absent(kind)) is not None:
        session.missing(f"{kind} attention", why)
        return None
    operations = attention_operations(session.plan.dit, video.tokens)
    done = Work(0, operations) if kind.eight_bit else Work(operations)
    with session.noted(what), torch.inference_mode():
        needed = score_nbytes(session.plan.dit.heads, video.tokens)
        if kind is Attention.MATH and needed > session.free_nbytes:
            raise MemoryError(f"its scores need {needed / 1e9:.0f} GB")
        session.require(8 * session.slowly_s(done))
        return _measured(session, kind, video, done)
    return None


def _measured(session: Session, kind: Attention, video: VideoSize, done: Work) -> float:
    attend, read = _made(session, kind, video)
    if kind is Attention.TRITON_FP8:
        _choose_tile(session, attend, read)
    error = _error(attend, read)
    session.reset_peak()
    name = f"{kind} attention at {video}"
    taken = session.clock.measure(name, lambda: attend(*read), _BUDGET_S)
    session.add(Stage.ATTENTION, video, Setting(kind), taken, done, error)
    return taken.median_s


def _made(
    session: Session, kind: Attention, video: VideoSize
) -> tuple[SelfAttention, list[torch.Tensor]]:
    """The attention, and random query, key and value in bfloat16."""
    attend = SelfAttention(session.plan.dit.heads)
    attend.kind = kind
    shape = (1, video.tokens, session.plan.dit.dim)
    query, key, value = (
        torch.randn(shape, generator=session.generator, device=session.device, dtype=torch.bfloat16)
        for _ in range(3)
    )
    attend.ranges = (greatest(query), greatest(key), greatest(value))
    return attend, [query, key, value]


def _error(attend: SelfAttention, read: list[torch.Tensor]) -> float:
    """Of some queries, spread over all: errors of sums grow with the keys."""
    query, key, value = read
    every = max(1, query.shape[1] // _ERROR_QUERIES)
    found = attend(query, key, value)[:, ::every]
    exact = SelfAttention(attend.heads)
    return relative(found, exact(query[:, ::every].float(), key.float(), value.float()))


def _choose_tile(session: Session, attend: SelfAttention, read: list[torch.Tensor]) -> None:
    from roofline import triton_attention

    taken: dict[triton_attention.Tile, float] = {}
    for tile in triton_attention.TILES:
        triton_attention.choose(tile)
        with session.noted(str(tile)):
            run = session.clock.measure(str(tile), lambda: attend(*read), 0.3, least=2)
            taken[tile] = run.median_s
    if taken:
        triton_attention.choose(min(taken, key=lambda tile: taken[tile]))


def greatest(x: torch.Tensor) -> float:
    """Its greatest magnitude."""
    return float(x.abs().amax())
