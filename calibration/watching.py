"""Looking at what a denoiser rounds at FP8, while it runs in high precision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from wan_trt.export.modeling.attention import Attention, query_scale
from wan_trt.export.quantize.attention_inputs import OPERANDS, QUERY, AttentionInput


def watch(
    denoiser: nn.Module, name: str, see: Callable[[torch.Tensor], None]
) -> Callable[[], None]:
    """Let `see` have a tensor of every pass until the result is called: the input of the linear
    `name`, or an input of a self attention, of which the query is scaled as where it is rounded."""
    attention = AttentionInput.parse(name)
    module = denoiser.get_submodule(attention.module if attention else name)
    place = OPERANDS.index(attention.operand) if attention else 0

    def look(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        tensor = inputs[place]
        if attention and attention.operand == QUERY:
            assert isinstance(module, Attention)
            tensor = tensor * query_scale(tensor.shape[-1] // module.heads)
        see(tensor)

    return module.register_forward_pre_hook(look).remove
