"""Noise drawn on the device equals numpy's, and torch's on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
from device_side import DeviceSide

from wan_trt.engine.cuda.noise import DeviceNoise
from wan_trt.engine.cuda.nvrtc import PHILOX_NORMAL
from wan_trt.engine.cuda.philox import H100, TOLERANCE, GpuThreads, normal

SMALL_GPU = GpuThreads(multiprocessors=2, threads_per_multiprocessor=1024)  # holds 2048 threads
SEED = 0x0123_4567_89AB_CDEF


@pytest.mark.parametrize("threads", [SMALL_GPU, H100])
@pytest.mark.parametrize("shape", [(3, 4), (16, 3, 20, 21), (2048,), (5,)])
@pytest.mark.parametrize("block", [0, 2**32 - 1])
def test_the_device_draws_what_the_host_draws(
    side: DeviceSide, threads: GpuThreads, shape: tuple[int, ...], block: int
) -> None:
    tensor = side.empty(*shape)
    DeviceNoise(side.device, side.load(PHILOX_NORMAL)).draw(
        tensor, SEED, block, side.stream, threads
    )
    expected = normal(SEED, block, shape, threads)
    if side.host_folder is None:
        np.testing.assert_allclose(side.get(tensor), expected, atol=TOLERANCE, rtol=0)
    else:
        np.testing.assert_array_equal(side.get(tensor), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("side", ["gpu"], indirect=True)
@pytest.mark.parametrize("shape", [(3, 4), (16, 3, 8, 8), (16, 21, 60, 104), (16, 21, 90, 160)])
def test_torch_draws_the_same_on_this_gpu(side: DeviceSide, shape: tuple[int, ...]) -> None:
    """Two segments from one generator, by the device bit for bit, by numpy within its tolerance."""
    torch = pytest.importorskip("torch")
    generator = torch.Generator("cuda").manual_seed(SEED)
    gpu = side.device.gpu
    threads = GpuThreads(gpu.multiprocessors, gpu.threads_per_multiprocessor)
    noise = DeviceNoise(side.device, side.load(PHILOX_NORMAL))
    tensor = side.empty(*shape)
    for segment in range(2):
        drawn = torch.randn(*shape, generator=generator, device="cuda", dtype=torch.float32)
        block = segment * threads.blocks_of(tensor.elements)
        noise.draw(tensor, SEED, block, side.stream, threads)
        np.testing.assert_array_equal(side.get(tensor), drawn.cpu().numpy())
        np.testing.assert_allclose(
            normal(SEED, block, shape, threads), drawn.cpu().numpy(), atol=TOLERANCE, rtol=0
        )
