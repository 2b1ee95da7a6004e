"""A block and a whole forward pass, in one variant after the other."""

from __future__ import annotations

import torch

from roofline.denoiser import Denoiser, Inputs, fill, random_inputs
from roofline.errors import errors, outputs, reference
from roofline.results import Stage
from roofline.session import Session
from roofline.sizes import VideoSize
from roofline.timing import Timing
from roofline.variant import Variant, compile_blocks, make, observe
from roofline.work import block_terms, denoiser_terms, work

_COMPILE_S = 40.0
_BLOCK_BUDGET_S, _FORWARD_BUDGET_S = 2.0, 8.0


class DenoiserStage:
    """All variants share weights, ranges of FP8, and float32's results on few tokens."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._model = _model(session)
        self._small = self._inputs(session.plan.error_video)
        self._ranges = observe(self._model, self._small)
        self._exact = reference(self._model, self._small)

    def measure(self, video: VideoSize, variant: Variant, *, forward: bool = True) -> None:
        """A block and, if asked for, a whole forward pass; both compared with float32."""
        with self._session.noted(f"{variant} at {video}"):
            self._measure(video, variant, forward)

    def _measure(self, video: VideoSize, variant: Variant, forward: bool) -> None:
        session, dit = self._session, self._session.plan.dit
        block = work(block_terms(dit, video.tokens), variant.linears, variant.attention)
        session.require(_COMPILE_S * variant.compiled + 5 * session.slowly_s(block))
        made = make(self._model, variant, self._ranges)
        found = errors(outputs(made, self._small), self._exact)
        if variant.compiled:
            compile_blocks(made)
        inputs = self._inputs(video)
        with torch.inference_mode():
            block_s = self._block(made, inputs, f"block, {variant}, {video}")
            session.add(Stage.BLOCK, video, variant.setting, block_s, block, found[Stage.BLOCK])
            if not forward:
                return
            whole = work(denoiser_terms(dit, video), variant.linears, variant.attention)
            one_s = block_s.median_s * whole.total / block.total
            session.require(_COMPILE_S * variant.compiled + 2.2 * one_s)
            made(inputs, layers=1)  # compiles the face block too
            session.reset_peak()
            taken = session.clock.measure(
                f"forward, {variant}, {video}",
                lambda: made(inputs),
                _FORWARD_BUDGET_S,
                warm_up=False,
                least=2,
                most=5,
            )
            session.add(Stage.FORWARD, video, variant.setting, taken, whole, found[Stage.FORWARD])

    def _block(self, made: Denoiser, inputs: Inputs, name: str) -> Timing:
        x, time, _ = made.begin(inputs)
        self._session.reset_peak()
        return self._session.clock.measure(
            name, lambda: made.layer(0, x, time, inputs), _BLOCK_BUDGET_S
        )

    def _inputs(self, video: VideoSize) -> Inputs:
        session = self._session
        return random_inputs(session.plan.dit, video, session.generator, torch.bfloat16)


def _model(session: Session) -> Denoiser:
    """As many blocks as memory has room for, in bfloat16 and once more in FP8."""
    dit = session.plan.dit
    block_nbytes = 2 * (6 * dit.dim**2 + 2 * dit.dim * dit.ffn)
    room = int(0.4 * session.free_nbytes / (1.5 * block_nbytes))
    distinct = max(1, min(2 if session.plan.quick else dit.layers, room))
    session.results.model = {**session.results.model, "distinct_blocks": distinct}
    with torch.device(session.device):
        model = Denoiser(dit, distinct)
    model.requires_grad_(False)
    fill(model, session.generator)
    return model
