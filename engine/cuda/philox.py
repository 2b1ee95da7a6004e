"""The noise that torch draws on a GPU, computed with numpy.

The official code draws the latents of a segment by `torch.randn(16, F, h, w, dtype=torch.float32,
device="cuda", generator=g)`, where `g = torch.Generator("cuda")` is seeded once and goes on from
segment to segment. What that gives is defined by three layers:

* Philox4x32-10 (Salmon et al. 2011): a counter of four words and a key of two -> four words. The
  key is the seed; the counter's low half counts a thread's blocks, its high half is the thread.
* curand's Box-Muller: two words (x, y) -> sqrt(-2 ln u) * (sin v, cos v) with
  u = (x + 1/2) / 2^32 and v = 2 pi (y + 1/2) / 2^32, each a float32.
* ATen's launch: as many threads as the GPU holds at once, or as there are elements if that is
  fewer. Thread t takes the elements t, t + threads, t + 2 threads, t + 3 threads from its first
  block of four, and goes on 4 * threads further. So **the noise of a tensor with more elements than
  the GPU holds threads depends on the GPU**, and every real video is that large.

What is computed here equals the GPU's result but for the rounding of ln (float32, 1 ulp) and of
the fast sine and cosine there, which are absolute: `TOLERANCE` bounds both.

Sources: ATen/native/cuda/DistributionTemplates.h; curand_normal.h; PTX ISA, sin.approx.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = tuple[NDArray[np.uint32], ...]

THREADS_PER_BLOCK = 256  # of ATen's launch
TOLERANCE = 5e-6
"""Largest |numpy - GPU| of one number: sin.approx is off by at most 2^-20.5, times the largest
radius, sqrt(-2 ln 2^-33) = 6.8."""

_ROUNDS = 10
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_UNIT = np.float32(2**-32)
_ANGLE = np.float32(2 * math.pi) * _UNIT
_CHUNK_THREADS = 1 << 16  # bounds the temporaries to a few MB


@dataclass(frozen=True)
class GpuThreads:
    """How many threads a GPU holds at once: what torch's noise depends on."""

    multiprocessors: int
    threads_per_multiprocessor: int

    def of(self, elements: int) -> int:
        """Threads of a launch over that many elements."""
        blocks = self.multiprocessors * (self.threads_per_multiprocessor // THREADS_PER_BLOCK)
        return THREADS_PER_BLOCK * min(blocks, -(-elements // THREADS_PER_BLOCK))

    def blocks_of(self, elements: int) -> int:
        """Philox blocks that a draw of that many elements takes of each thread's stream."""
        return -(-elements // (4 * self.of(elements)))


H100 = GpuThreads(132, 2048)
"""H100 SXM and H200."""


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """Four uint32 words for each counter of four uint32 words. Philox4x32-10."""
    c0, c1, c2, c3 = (word.astype(np.uint64) for word in counter)
    for i in range(_ROUNDS):
        k0, k1 = (np.uint64((k + i * w) & 0xFFFFFFFF) for k, w in zip(key, _WEYL, strict=True))
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (second >> _WORD) ^ c1 ^ k0,
            second & _LOW,
            (first >> _WORD) ^ c3 ^ k1,
            first & _LOW,
        )
    return tuple(word.astype(np.uint32) for word in (c0, c1, c2, c3))


def box_muller(x: NDArray[np.uint32], y: NDArray[np.uint32]) -> tuple[NDArray[np.float32], ...]:
    """Two independent normal float32 of two random words, as curand makes them."""
    # In float64 products and sums are exact: one rounding each, like the GPU's fused ones.
    u = (x.astype(np.float32) * np.float64(_UNIT) + np.float64(_UNIT) / 2).astype(np.float32)
    v = (y.astype(np.float32) * np.float64(_ANGLE) + np.float64(_ANGLE) / 2).astype(np.float32)
    radius = np.sqrt(np.float32(-2) * np.log(u, dtype=np.float64).astype(np.float32))
    sine, cosine = (f(v, dtype=np.float64).astype(np.float32) for f in (np.sin, np.cos))
    return radius * sine, radius * cosine


def normal(
    seed: int, block: int, shape: tuple[int, ...], threads: GpuThreads = H100
) -> NDArray[np.float32]:
    """`torch.randn(shape, device="cuda")` on a GPU with these threads: float32.

    `seed` is below 2^64; `block` counts what the generator has given before, in Philox blocks of
    each thread (torch's generator offset / 4): the sum of `GpuThreads.blocks_of`.
    """
    elements = math.prod(shape)
    out = np.empty(elements, np.float32)
    stride = threads.of(elements)
    for i in range(threads.blocks_of(elements)):
        for start in range(0, stride, _CHUNK_THREADS):
            stop = min(start + _CHUNK_THREADS, stride)
            for lane, values in enumerate(_lanes(seed, block + i, start, stop)):
                first = (4 * i + lane) * stride + start
                part = out[first : first + len(values)]
                part[:] = values[: len(part)]
    return out.reshape(shape)


def _lanes(seed: int, block: int, start: int, stop: int) -> tuple[NDArray[np.float32], ...]:
    """The four numbers that the threads from `start` to `stop` make of their block."""
    thread = np.arange(start, stop, dtype=np.uint32)
    low, high = (np.full_like(thread, word) for word in _split(block))
    x, y, z, w = philox((low, high, thread, np.zeros_like(thread)), _split(seed))
    return *box_muller(x, y), *box_muller(z, w)


def _split(number: int) -> tuple[int, int]:
    """(low, high) words of a 64-bit number."""
    return number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF
