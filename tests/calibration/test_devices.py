"""What must hold on a GPU and can be told without one: where tensors are made, and how large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from wan_trt.calibration.fake_quantised import fake_quantised
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.graphs import plan
from wan_trt.export.modeling.attention import attention
from wan_trt.export.modeling.denoiser import Denoiser
from wan_trt.export.quantize.policy import candidates
from wan_trt.export.quantize.rounding import Rounding


def test_a_denoiser_makes_nothing_on_another_device(tiny_checkpoint: Path) -> None:
    """Also with its linears rounded. "meta" stands for a device that is not the CPU: arithmetic
    with tensors of both raises."""
    with pytest.raises(RuntimeError, match="device meta"):
        torch.ones(2) + torch.ones(2, device="meta")
    like = plan(Checkpoint.open(tiny_checkpoint)).expert["denoiser"]
    assert isinstance(like, Denoiser)
    with torch.device("meta"):
        module = Denoiser(like.sizes, like.image, like.face).requires_grad_(False)
        inputs = [
            torch.empty(spec.shape(module.example_sizes), dtype=getattr(torch, spec.dtype))
            for spec in module.spec.inputs
        ]
    assert module(*inputs).device.type == "meta"
    linears = candidates({"denoiser": module})["denoiser"]
    rounding = Rounding.of_graph("denoiser", linears)
    with fake_quantised(module, rounding, dict.fromkeys(linears, 2.0)):
        assert module(*inputs).device.type == "meta"


class LargestResult(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the greatest number of values that an operation gives."""

    values = 0

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.numel())
        return result


def test_attention_does_not_hold_all_scores() -> None:
    tokens, heads, dim = 512, 2, 32
    query, key, value = torch.randn(3, 1, tokens, dim).unbind()
    largest = LargestResult()  # type: ignore[no-untyped-call]
    with largest, torch.no_grad():
        found = attention(query, key, value, heads)
    assert largest.values < heads * tokens * tokens / 4
    q, k, v = (x.reshape(tokens, heads, -1).transpose(0, 1) for x in (query[0], key[0], value[0]))
    weights = (q @ k.transpose(1, 2) / (dim // heads) ** 0.5).softmax(-1)
    torch.testing.assert_close(found[0], (weights @ v).transpose(0, 1).flatten(1))
