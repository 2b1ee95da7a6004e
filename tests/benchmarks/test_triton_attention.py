"""The FP8 attention in Triton: what it compiles to without a GPU, and what it computes."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from roofline.attention_stage import greatest
from roofline.attentions import in_heads
from roofline.errors import relative
from roofline.linears import E4M3, E4M3_MAX, e4m3
from roofline.sizes import ANIMATE_14B, HEAD_DIM

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

# FP8 products of each GPU, and the shared memory that a program may have there.
PRODUCTS = {
    89: ("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", 99 << 10),
    90: ("wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3", 227 << 10),
}


@pytest.mark.parametrize("capability", PRODUCTS)
def test_it_compiles_to_fp8_products_and_spills_nothing(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from roofline.triton_attention import TILES, _attend

    product, most_shared = PRODUCTS[capability]
    types = {"query": "*fp8e4nv", "key": "*fp8e4nv", "value": "*fp8e4nv", "out": "*bf16"}
    types |= {"tokens": "i32", "padded": "i32", "score_scale": "fp32", "value_scale": "fp32"}
    aligned = {(index,): [["tt.divisibility", 16]] for index in (0, 1, 2, 3, 5)}
    ptxas = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"
    for tile in TILES:
        sizes = {"heads": ANIMATE_14B.heads, "head_dim": HEAD_DIM}
        sizes |= {"tile_queries": tile.queries, "tile_keys": tile.keys}
        source = ASTSource(_attend, types | dict.fromkeys(sizes, "constexpr"), sizes, aligned)
        made = triton.compile(
            source,
            target=GPUTarget("cuda", capability, 32),
            options={"num_warps": tile.warps, "num_stages": tile.stages},
        )
        assert product in made.asm["ptx"]
        assert made.metadata.shared <= most_shared
        text = tmp_path / "kernel.ptx"
        text.write_text(made.asm["ptx"])
        [gpu] = re.findall(r"^\.target (\w+)", made.asm["ptx"], re.MULTILINE)
        command = [ptxas, "--verbose", "--gpu-name", gpu, text, "--output-file", os.devnull]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        assert "0 bytes stack frame, 0 bytes spill stores" in told, tile
        assert "serialized" not in told, tile  # products that wait for each other


def rounded_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """What the Triton kernel computes, in one pass over all keys: [heads, tokens, head_dim]."""
    ranges = [x.abs().amax() for x in (query, key, value)]
    q, k, v = (
        e4m3(x, E4M3_MAX / r).float() * r / E4M3_MAX
        for x, r in zip((query, key, value), ranges, strict=True)
    )
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    return (weights * E4M3_MAX).to(E4M3).float() / E4M3_MAX @ v / weights.sum(-1, keepdim=True)


@pytest.mark.gpu
@pytest.mark.parametrize("tokens", [40, 300])
def test_attention_in_fp8(tokens: int) -> None:
    """On a GPU, or in Triton's interpreter (TRITON_INTERPRET=1)."""
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU, and Triton's interpreter was not asked for")
    from roofline.triton_attention import TILES, choose, quantised_attention

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(3)
    query, key, value = (
        torch.randn(1, tokens, 256, generator=generator, device=device, dtype=torch.bfloat16)
        for _ in range(3)
    )
    ranges = (greatest(query), greatest(key), greatest(value))
    q, k, v = (in_heads(x[0].float(), 2).transpose(0, 1) for x in (query, key, value))
    expected = rounded_attention(q, k, v).transpose(0, 1).flatten(1)
    exact = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)
    # The interpreter cuts where a GPU rounds to E4M3; else they differ by a tile's maximum so far.
    bound = 0.03 if device == "cuda" else 0.08
    for tile in TILES:
        choose(tile)
        found = quantised_attention(query, key, value, 2, ranges)[0]
        assert relative(found, exact) < 0.12
        assert relative(found, expected) < bound


def test_attention_in_fp8_without_a_gpu() -> None:
    """Triton reads the variable when it is imported."""
    if torch.cuda.is_available():
        pytest.skip("a GPU shows it")
    if version("triton").startswith("3.6."):
        pytest.skip("the interpreter of Triton 3.6 fails on numpy 2.4")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", f"{__file__}::test_attention_in_fp8"],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert "2 passed" in run.stdout, run.stdout[-2000:]
