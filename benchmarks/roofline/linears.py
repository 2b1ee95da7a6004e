"""Linears in bfloat16 and in FP8."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from roofline.work import Linears

E4M3 = torch.float8_e4m3fn
E4M3_MAX = 448.0


class Linear(nn.Module):
    """x W^T + b. Computes in `compute`; weights lie in bfloat16 and are widened for float32."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        compute: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__()
        weight = torch.empty(outputs, inputs, dtype=torch.bfloat16)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = (
            nn.Parameter(torch.empty(outputs, dtype=torch.bfloat16), requires_grad=False)
            if bias
            else None
        )
        self.compute = compute

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(self.compute)
        return F.linear(x.to(self.compute), self.weight.to(self.compute), bias)


class Fp8Linear(nn.Module):
    """The same with E4M3 inputs and weights, sums in float32, bfloat16 out. The input's scale is
    fixed beforehand: greater values are cut off."""

    bias: torch.Tensor | None

    def __init__(self, linear: Linear, input_range: float, columns: bool) -> None:
        """`columns`: a scale for each column of the weights instead of one."""
        super().__init__()
        weight = linear.weight.float()
        greatest = weight.abs().amax(dim=1) if columns else weight.abs().amax()
        scale = greatest.clamp(min=1e-12) / E4M3_MAX
        self.columns = columns
        self.weight = nn.Buffer(e4m3(weight, 1 / (scale[:, None] if columns else scale)))
        self.weight_scale = nn.Buffer(scale[None, :].contiguous() if columns else scale)
        self.input_scale = nn.Buffer(torch.full_like(scale.max(), input_range / E4M3_MAX))
        self.inverse = nn.Buffer(1 / self.input_scale)
        self.register_buffer("bias", linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = e4m3(x, self.inverse).flatten(0, -2)
        scale: torch.Tensor = self.input_scale
        if self.columns:  # then the kernel wants one for each row too
            scale = scale.expand(rows.shape[0], 1).contiguous()
        product: torch.Tensor = torch._scaled_mm(
            rows,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.weight_scale,
            bias=self.bias,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
        return product.view(*x.shape[:-1], -1)


def e4m3(x: torch.Tensor, factor: float | torch.Tensor) -> torch.Tensor:
    """x * factor, rounded to E4M3; what is beyond its range becomes its greatest value."""
    return (x.float() * factor).clamp(-E4M3_MAX, E4M3_MAX).to(E4M3)


def converted(linear: Linear, linears: Linears, input_range: float) -> nn.Module:
    if linears is Linears.BF16:
        return linear
    return Fp8Linear(linear, input_range, columns=linears is Linears.FP8_COLUMNS)
