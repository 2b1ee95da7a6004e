"""Captured launches: equal to eager ones, one graph for each set of addresses."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from device_side import DeviceSide
from fake_cuda import FakeCuda
from numpy.typing import NDArray

from wan_trt.engine.capture import CapturedExecutor
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.cuda.nvrtc import KernelSource
from wan_trt.engine.errors import ExecutionError, ResourceError
from wan_trt.engine.executor import Bindings, GraphSpec, TensorSpec

SCALE_ADD = KernelSource(
    "scale_add",
    """
    extern "C" __global__ void scale_add(float *out, const float *x, const float *y,
                                         unsigned long long elements)
    {
        unsigned long long i = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
        if (i < elements)
            out[i] = 2.0f * x[i] + y[i];
    }
    """,
    (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64),
    fused=False,
)


@dataclass
class ScaleAddBindings:
    inputs: dict[str, DeviceTensor]
    outputs: dict[str, DeviceTensor]


@dataclass
class ScaleAdd:
    """out = 2 x + y, twice over: two kernels a launch. `before` runs between the two."""

    side: DeviceSide
    before: Callable[[], None] = lambda: None
    closed: bool = False
    spec: GraphSpec = field(init=False)

    def __post_init__(self) -> None:
        self._kernel = self.side.load(SCALE_ADD)
        tensors = {name: TensorSpec(name, "float32", ("length",)) for name in ("x", "y", "out")}
        self.spec = GraphSpec((tensors["x"], tensors["y"]), (tensors["out"],))

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, DeviceTensor] | None = None
    ) -> ScaleAddBindings:
        given = tensors or {}
        made = {
            spec.name: given.get(spec.name) or self.side.empty(*spec.shape(sizes))
            for spec in (*self.spec.inputs, *self.spec.outputs)
        }
        return ScaleAddBindings({n: made[n] for n in ("x", "y")}, {"out": made["out"]})

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        assert stream is not None
        x, y, out = bindings.inputs["x"], bindings.inputs["y"], bindings.outputs["out"]
        n = x.elements
        blocks, device = -(-n // 128), self.side.device
        device.launch(self._kernel, blocks, 128, (out.address, x.address, y.address, n), stream)
        self.before()
        device.launch(self._kernel, blocks, 128, (out.address, out.address, y.address, n), stream)

    def close(self) -> None:
        self.closed = True


def values(length: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(length, np.float32)


def expected(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    once = np.float32(2) * x + y
    return np.float32(2) * once + y


def test_a_replay_equals_a_launch(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    bindings = captured.bind({"length": 1000})
    for seed in range(5):
        x, y = values(1000, seed), values(1000, seed + 100)
        side.put(x, bindings.inputs["x"])
        side.put(y, bindings.inputs["y"])
        captured.launch(bindings, side.stream)
        np.testing.assert_array_equal(side.get(bindings.outputs["out"]), expected(x, y))
    assert captured.counts.captures == 1
    assert captured.counts.recaptures == 0
    assert captured.counts.replays == 4
    captured.close()


def test_the_first_launch_runs_once(side: DeviceSide) -> None:
    """Work in place must not be done by the warm-up and by a replay."""
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    x = side.tensor(values(10, 0))
    bindings = captured.bind({"length": 10}, {"x": x, "out": x})
    side.put(np.zeros(10, np.float32), bindings.inputs["y"])
    for launches in range(1, 4):
        captured.launch(bindings, side.stream)
        np.testing.assert_array_equal(side.get(x), values(10, 0) * 4**launches)
    captured.close()


def test_bindings_that_swap_their_tensors_have_a_graph_each(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    a, b, y = side.tensor(values(300, 0)), side.empty(300), side.tensor(values(300, 1))
    sizes = {"length": 300}
    forth = captured.bind(sizes, {"x": a, "out": b, "y": y})
    back = captured.bind(sizes, {"x": b, "out": a, "y": y})
    result = values(300, 0)
    for bindings in itertools.islice(itertools.cycle((forth, back)), 10):
        captured.launch(bindings, side.stream)
        result = expected(result, values(300, 1))
        np.testing.assert_array_equal(side.get(bindings.outputs["out"]), result)
    assert (captured.counts.captures, captured.counts.recaptures) == (2, 0)
    captured.close()


def test_another_job_at_the_same_addresses_replays(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    first = captured.bind({"length": 64})
    second = captured.bind({"length": 64}, {**first.inputs, **first.outputs})
    other_size = captured.bind({"length": 65})
    for bindings in (first, second, other_size, second, other_size):
        captured.launch(bindings, side.stream)
    assert (captured.counts.captures, captured.counts.recaptures) == (2, 0)
    assert captured.counts.replays == 3
    captured.close()


def test_new_addresses_are_seen(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    y = side.tensor(values(200, 9))
    for seed in range(3):
        x = side.tensor(values(200, seed))
        bindings = captured.bind({"length": 200}, {"x": x, "y": y})
        for _ in range(2):
            captured.launch(bindings, side.stream)
            out = side.get(bindings.outputs["out"])
            np.testing.assert_array_equal(out, expected(values(200, seed), values(200, 9)))
    assert (captured.counts.captures, captured.counts.recaptures) == (3, 0)
    captured.close()


def test_jobs_that_take_turns_keep_their_graphs(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add", kept=2)
    first, second, third = (captured.bind({"length": 8}) for _ in range(3))
    for bindings in (first, second, first, second):
        captured.launch(bindings, side.stream)
    assert (captured.counts.captures, captured.counts.recaptures) == (2, 0)
    captured.launch(third, side.stream)  # in the place of the first
    captured.launch(second, side.stream)
    captured.launch(first, side.stream)
    assert (captured.counts.captures, captured.counts.recaptures) == (4, 2)
    assert captured.counts.replays == 3
    captured.close()


def test_an_executor_that_waits_cannot_be_captured(side: DeviceSide) -> None:
    executor = ScaleAdd(side)
    captured = CapturedExecutor(executor, side.device, "the decoder")
    bindings = captured.bind({"length": 100})
    executor.before = lambda: side.device.synchronize(side.stream)
    with pytest.raises(ExecutionError, match=r"the decoder cannot be captured.*CAPTURE"):
        captured.launch(bindings, side.stream)
    # The stream is as it was, and so is the executor.
    executor.before = lambda: None
    side.put(values(100, 1), bindings.inputs["x"])
    side.put(values(100, 2), bindings.inputs["y"])
    captured.launch(bindings, side.stream)
    out = side.get(bindings.outputs["out"])
    np.testing.assert_array_equal(out, expected(values(100, 1), values(100, 2)))
    captured.close()


def test_what_an_executor_raises_in_a_capture_leaves_the_stream_usable(side: DeviceSide) -> None:
    executor = ScaleAdd(side)
    captured = CapturedExecutor(executor, side.device, "scale_add")
    bindings = captured.bind({"length": 100})
    calls = itertools.count()

    def fail_when_captured() -> None:
        if next(calls) == 1:
            raise KeyError("a bug")

    executor.before = fail_when_captured
    with pytest.raises(KeyError, match="a bug"):
        captured.launch(bindings, side.stream)
    captured.launch(bindings, side.stream)
    assert captured.counts.captures == 1
    captured.close()


@pytest.mark.parametrize("stream", [None, 0])
def test_the_default_stream_is_refused(side: DeviceSide, stream: int | None) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    with pytest.raises(ValueError, match="a stream of its own"):
        captured.launch(captured.bind({"length": 4}), stream)
    captured.close()


def test_a_graph_that_does_not_fit_is_a_resource_error(fake: FakeCuda, side: DeviceSide) -> None:
    if side.host_folder is None:
        pytest.skip("a GPU does not run out of memory on demand")
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    bindings = captured.bind({"length": 4})
    fake.failures["cuGraphInstantiate"] = "CUDA_ERROR_OUT_OF_MEMORY"
    with pytest.raises(ResourceError, match="no GPU memory"):
        captured.launch(bindings, side.stream)
    assert "graphs" not in fake.live
    captured.close()


def test_closing_frees_the_graphs_and_the_executor(fake: FakeCuda, host_folder: Path) -> None:
    side = DeviceSide(Device(bindings=fake), host_folder)
    executor = ScaleAdd(side)
    captured = CapturedExecutor(executor, side.device, "scale_add")
    captured.launch(captured.bind({"length": 4}), side.stream)
    assert fake.live["executables"] == 1
    captured.close()
    assert executor.closed
    assert not {"graphs", "executables"} & set(fake.live)
    side.close()
