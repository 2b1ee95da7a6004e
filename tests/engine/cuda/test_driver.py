"""Driver calls are checked and their failures typed."""

from __future__ import annotations

import sys

import pytest
from fake_cuda import FakeCuda

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import ExecutionError, ResourceError


def test_a_device_says_what_it_is(fake: FakeCuda) -> None:
    gpu = Device(bindings=fake).gpu
    assert (gpu.name, gpu.compute_capability) == ("Fake H100", (9, 0))
    assert (gpu.multiprocessors, gpu.threads_per_multiprocessor) == (132, 2048)


def test_a_machine_without_a_gpu() -> None:
    with pytest.raises(ResourceError, match="CUDA_ERROR_NO_DEVICE") as raised:
        Device(bindings=FakeCuda(devices=0))
    assert "nvidia-smi" in raised.value.action


def test_a_machine_without_cuda_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(ResourceError, match=r"pip install 'wan-trt\[cuda\]'"):
        Device()


def test_no_memory_is_a_resource_error(fake: FakeCuda) -> None:
    device = Device(bindings=fake)
    free, total = device.memory_info()
    assert free == total
    with pytest.raises(ResourceError, match="cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY"):
        device.allocate(total + 1)


@pytest.mark.parametrize(
    ("code", "action"),
    [
        ("CUDA_ERROR_LAUNCH_FAILED", "start this process again"),
        ("CUDA_ERROR_INVALID_VALUE", "report this"),
    ],
)
def test_what_fails_on_the_gpu_names_the_call(fake: FakeCuda, code: str, action: str) -> None:
    device = Device(bindings=fake)
    stream = device.new_stream()
    fake.failures["cuStreamSynchronize"] = code
    with pytest.raises(ExecutionError, match=f"cuStreamSynchronize: {code}.*{action}"):
        device.synchronize(stream)


def test_a_graph_must_be_instantiated_before_it_is_launched(fake: FakeCuda) -> None:
    device = Device(bindings=fake)
    stream = device.new_stream()
    device.begin_capture(stream)
    graph = device.end_capture(stream)
    with pytest.raises(ExecutionError, match="cuGraphLaunch"):
        device.launch_graph(graph, stream)
    device.launch_graph(device.instantiate(graph), stream)
