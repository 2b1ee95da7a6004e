"""A denoiser in one of the ways that it is measured in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from roofline.attentions import SelfAttention
from roofline.denoiser import Denoiser, Inputs, call
from roofline.linears import Linear, converted
from roofline.results import Setting
from roofline.work import Attention, Linears

Ranges = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Variant:
    """`compiled`: by torch.compile, block by block."""

    linears: Linears
    attention: Attention
    compiled: bool

    @property
    def setting(self) -> Setting:
        return Setting(self.attention, self.linears, "compiled" if self.compiled else "eager")

    def __str__(self) -> str:
        return f"{self.linears} linears, {self.attention} attention, {self.setting.mode}"


def observe(model: Denoiser, inputs: Inputs) -> Ranges:
    """Greatest magnitudes of what the linears of (face) blocks and the self attentions read in one
    forward pass, by the module's name inside a block: one for all blocks, so that torch.compile
    need not compile each."""
    ranges: Ranges = {}
    with ExitStack() as stack:
        for name, module in _narrowed(model.blocks, model.face_blocks):

            def hook(_: nn.Module, read: tuple[torch.Tensor, ...], name: str = name) -> None:
                seen = ranges.get(name, (1e-6,) * len(read))
                found = (float(x.abs().amax()) for x in read)
                ranges[name] = tuple(map(max, zip(seen, found, strict=True)))

            stack.callback(module.register_forward_pre_hook(hook).remove)
        with torch.inference_mode():
            model(inputs)
    return ranges


def make(model: Denoiser, variant: Variant, ranges: Ranges) -> Denoiser:
    """The model with linears and attentions as the variant has them, eager. What is not narrowed
    is shared with `model`, which stays as it is."""
    made = Denoiser(model.dit, distinct=0)
    for name in ("patch_embedding", "time_embedding", "time_projection", "head"):
        setattr(made, name, getattr(model, name))
    made.head_modulation = model.head_modulation
    made.blocks, made.face_blocks = (
        nn.ModuleList(_copied(block, "", variant, ranges) for block in blocks)
        for blocks in (model.blocks, model.face_blocks)
    )
    return made


def compile_blocks(made: Denoiser) -> None:
    """By torch.compile, for the size of the next call. All blocks must share what is compiled: a
    layer that fell back to eager mode would be a wrong number."""
    torch._dynamo.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    made.run_block = torch.compile(call, dynamic=False)
    made.run_face = torch.compile(call, dynamic=False)


@contextmanager
def computing_in(model: Denoiser, dtype: torch.dtype) -> Iterator[None]:
    """While it is open every linear computes in `dtype`."""
    linears = [module for module in model.modules() if isinstance(module, Linear)]
    before = [linear.compute for linear in linears]
    for linear in linears:
        linear.compute = dtype
    try:
        yield
    finally:
        for linear, compute in zip(linears, before, strict=True):
            linear.compute = compute


def _narrowed(*kinds: nn.ModuleList) -> Iterator[tuple[str, nn.Module]]:
    for blocks in kinds:
        for block in blocks:
            for name, module in block.named_modules():
                if isinstance(module, (Linear, SelfAttention)):
                    yield name, module


def _copied(module: nn.Module, name: str, variant: Variant, ranges: Ranges) -> nn.Module:
    """A copy of the tree of modules that shares parameters, down to what the variant changes."""
    if isinstance(module, Linear):
        return converted(module, variant.linears, *ranges[name])
    copy = module.__class__.__new__(module.__class__)
    copy.__dict__.update(module.__dict__)
    copy._modules = {
        child: inner and _copied(inner, f"{name}.{child}".lstrip("."), variant, ranges)
        for child, inner in module._modules.items()
    }
    if isinstance(copy, SelfAttention):
        copy.kind = variant.attention
        query, key, value = ranges[name]
        copy.ranges = (query, key, value)
    return copy
