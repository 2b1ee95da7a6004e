"""Which cases the benchmark of FP8's errors has. A run takes minutes on the smallest model."""

from __future__ import annotations

import fp8_error

from wan_trt.export.quantize.policy import Policy


def test_a_model_without_faces_has_fewer_cases() -> None:
    linears = ["blocks.0.ffn.0", "blocks.0.cross_attn.k", "blocks.0.cross_attn.v"]
    cases = fp8_error.policies(linears)
    assert list(cases) == [
        "wide",
        "wide, contexts high",
        "text context",
        "attention alone",
        "wide and attention",
    ]
    for name, text in cases.items():
        applied = Policy.parse(text, name).apply({"denoiser": linears}, 1)
        assert bool(applied.attention) == ("attention" in name)
