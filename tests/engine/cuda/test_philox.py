"""The noise of torch's CUDA generator in numpy: published vectors, and torch itself."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from wan_trt.engine.cuda.philox import H100, TOLERANCE, GpuThreads, box_muller, normal, philox

# Random123, tests/kat_vectors: philox4x32 10, counter, key, result
VECTORS = (
    "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
)
# torch.randn((3, 4), device="cuda") after torch.manual_seed(0), as a web UI publishes it beside its
# imitation on the CPU (AUTOMATIC1111, rng_philox.py).
TORCH_SEED_0 = [
    [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
    [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
    [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
]
SMALL_GPU = GpuThreads(multiprocessors=2, threads_per_multiprocessor=1024)  # holds 2048 threads


@pytest.mark.parametrize("vector", VECTORS)
def test_philox_gives_the_published_words(vector: str) -> None:
    words = [int(word, 16) for word in vector.split()]
    counter = tuple(np.array([word], np.uint32) for word in words[:4])
    result = philox(counter, (words[4], words[5]))
    assert [int(word[0]) for word in result] == words[6:]


def test_a_seed_gives_what_torch_gives_on_a_gpu() -> None:
    np.testing.assert_allclose(normal(0, 0, (3, 4)), TORCH_SEED_0, atol=TOLERANCE)


def test_elements_are_dealt_to_threads_in_strides_of_the_gpu() -> None:
    """Element k * 4 * 2048 + lane * 2048 + t is number `lane` of block k of thread t."""
    elements = 3 * 4 * 2048 - 100
    drawn = normal(7, 0, (elements,), SMALL_GPU)
    thread = np.array([5], np.uint32)
    zero = np.zeros_like(thread)
    for k in range(3):
        words = philox((zero + np.uint32(k), zero, thread, zero), (7, 0))
        lanes = [*box_muller(*words[:2]), *box_muller(*words[2:])]
        found = [drawn[(4 * k + lane) * 2048 + 5] for lane in range(4)]
        assert found == [lane[0] for lane in lanes]


def test_a_tensor_that_fits_the_gpu_has_the_same_noise_on_all() -> None:
    np.testing.assert_array_equal(normal(3, 0, (1500,), SMALL_GPU), normal(3, 0, (1500,), H100))


def test_a_larger_one_does_not() -> None:
    assert (normal(3, 0, (5000,), SMALL_GPU) != normal(3, 0, (5000,), H100)).any()


def test_a_draw_moves_the_generator_by_its_blocks() -> None:
    """On an H100, 270336 threads take four numbers a block."""
    assert H100.of(10**7) == 270_336
    assert [H100.blocks_of(n) for n in (1, 4 * 270_336, 4 * 270_336 + 1)] == [1, 1, 2]
    assert H100.blocks_of(16 * 21 * 90 * 160) == 5


def test_memory_stays_near_the_result() -> None:
    shape = (16, 21, 60, 104)
    tracemalloc.start()
    noise = normal(0, 0, shape)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < noise.nbytes + 12 * 2**20
    assert abs(float(noise.mean())) < 2e-3
    assert abs(float(noise.std()) - 1) < 2e-3
