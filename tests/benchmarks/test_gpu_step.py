"""The benchmark of a step's small parts runs through, here on the fake driver."""

from __future__ import annotations

from pathlib import Path

import gpu_step
import pytest
from fake_cuda import FakeCuda
from host_kernels import compile_for_host

from wan_trt.engine.cuda.driver import Device, Kernel
from wan_trt.engine.cuda.nvrtc import KernelSource


def test_it_measures_and_gives_everything_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu_step, "LATENT_SHAPES", {"small": (16, 2, 2, 4)})
    monkeypatch.setattr(gpu_step, "GRAPH_NODES", (1, 3))
    fake = FakeCuda()

    def load(device: Device, source: KernelSource) -> Kernel:
        image = compile_for_host(source, tmp_path)
        return device.load_kernel(image, source.name, source.argument_types)

    kept = []
    result = gpu_step.measure(
        Device(bindings=fake), 2, load, lambda found: kept.append(len(found["replays"]))
    )
    assert kept == [0, 1, 2]  # after each part
    assert [row["kernels"] for row in result["replays"]] == [1, 3]
    assert result["sizes"]["small"]["write_host_us"] > 0
    assert "small" in gpu_step.table(result)
    assert fake.live == {}
