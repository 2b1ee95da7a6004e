"""The whole benchmark: what is measured in which order, until the time is over.

What is surest comes first, kernels that may break a GPU's context come last.
"""

from __future__ import annotations

from roofline import ceilings, plans
from roofline.attention_stage import fastest_wide
from roofline.attention_stage import measure as measure_attention
from roofline.denoiser_stage import DenoiserStage
from roofline.results import Stage
from roofline.session import Session
from roofline.sizes import VideoSize
from roofline.variant import Variant
from roofline.work import Attention, Linears

_EIGHT_BIT = tuple(kind for kind in Attention if kind.eight_bit)


def run(session: Session) -> None:
    """Raises RuntimeError where not even bfloat16 can be multiplied."""
    _ceilings(session)
    fastest = {video: fastest_wide(session, video) for video in session.plan.videos}
    stage = None
    with session.noted("the denoiser"):
        stage = DenoiserStage(session)
    if stage is not None:
        _denoisers(session, stage, fastest)
    for kind in _EIGHT_BIT:
        for video in session.plan.videos:
            if measure_attention(session, kind, video) is not None and stage is not None:
                stage.measure(video, Variant(Linears.FP8, kind, session.plan.compiled))
    session.missing(plans.WHAT, plans.why_missing())


def _ceilings(session: Session) -> None:
    sizes = ceilings.shapes(session.plan.dit, session.plan.videos[0].tokens)
    found = ceilings.measure(session.clock, sizes, session.plan.copy_nbytes)
    for ceiling in found:
        session.results.ceilings[ceiling.name] = ceiling.rates
        if ceiling.failed is not None:
            session.missing(ceiling.name, ceiling.failed)
    session.results.best = ceilings.summary(found)
    session.save()


def _denoisers(session: Session, stage: DenoiserStage, fastest: dict[VideoSize, Attention]) -> None:
    plan = session.plan
    for video in plan.videos:
        for linears in (Linears.BF16, Linears.FP8):
            stage.measure(video, Variant(linears, fastest[video], plan.compiled))
    if not plan.quick:
        for video in plan.videos:
            for kind in _that_ran(session, video):
                stage.measure(video, Variant(Linears.BF16, kind, False), forward=False)
            columns = Variant(Linears.FP8_COLUMNS, fastest[video], plan.compiled)
            stage.measure(video, columns, forward=False)


def _that_ran(session: Session, video: VideoSize) -> list[Attention]:
    return [
        Attention(measured.attention)
        for measured in session.results.measured
        if measured.stage is Stage.ATTENTION and measured.size == str(video)
    ]
