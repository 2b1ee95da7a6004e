"""Captured launches: equal to eager ones, one graph for each set of addresses."""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from device_side import DeviceSide
from fake_cuda import FakeCuda
from numpy.typing import NDArray

from wan_trt.engine.binding import bound_tensors
from wan_trt.engine.capture import CapturedBindings, CapturedExecutor
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.cuda.nvrtc import KernelSource
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
    launches: int = 0
    spec: GraphSpec = field(init=False)

    def __post_init__(self) -> None:
        self._kernel = self.side.load(SCALE_ADD)
        tensors = {name: TensorSpec(name, "float32", ("length",)) for name in ("x", "y", "out")}
        self.spec = GraphSpec((tensors["x"], tensors["y"]), (tensors["out"],))

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, DeviceTensor] | None = None
    ) -> ScaleAddBindings:
        return ScaleAddBindings(*bound_tensors("scale_add", self.spec, sizes, tensors))

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        assert stream is not None
        self.launches += 1
        x, y, out = bindings.inputs["x"], bindings.inputs["y"], bindings.outputs["out"]
        n = x.elements
        blocks, device = -(-n // 128), self.side.device
        device.launch(self._kernel, blocks, 128, (out.address, x.address, y.address, n), stream)
        self.before()
        device.launch(self._kernel, blocks, 128, (out.address, out.address, y.address, n), stream)

    def close(self) -> None:
        self.closed = True


def bind(
    captured: CapturedExecutor,
    side: DeviceSide,
    length: int,
    given: Mapping[str, DeviceTensor] | None = None,
) -> CapturedBindings:
    """New tensors for all that are not given."""
    new = {name: side.empty(length) for name in ("x", "y", "out") if name not in (given or {})}
    return captured.bind({"length": length}, {**new, **(given or {})})


def values(length: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(length, np.float32)


def expected(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    once = np.float32(2) * x + y
    return np.float32(2) * once + y


def test_a_replay_equals_a_launch(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    bindings = bind(captured, side, 1000)
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
    bindings = bind(captured, side, 10, {"x": x, "out": x})
    side.put(np.zeros(10, np.float32), bindings.inputs["y"])
    for launches in range(1, 4):
        captured.launch(bindings, side.stream)
        np.testing.assert_array_equal(side.get(x), values(10, 0) * 4**launches)
    captured.close()


def test_bindings_that_swap_their_tensors_have_a_graph_each(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    a, b, y = side.tensor(values(300, 0)), side.empty(300), side.tensor(values(300, 1))
    forth = bind(captured, side, 300, {"x": a, "out": b, "y": y})
    back = bind(captured, side, 300, {"x": b, "out": a, "y": y})
    result = values(300, 0)
    for bindings in itertools.islice(itertools.cycle((forth, back)), 10):
        captured.launch(bindings, side.stream)
        result = expected(result, values(300, 1))
        np.testing.assert_array_equal(side.get(bindings.outputs["out"]), result)
    assert (captured.counts.captures, captured.counts.recaptures) == (2, 0)
    captured.close()


def test_another_job_at_the_same_addresses_replays(side: DeviceSide) -> None:
    """By the bindings that the graph was recorded from, which live as long as the graph."""
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    first = bind(captured, side, 64)
    recorded = weakref.ref(first.bindings)
    tensors = {**first.inputs, **first.outputs}
    early = bind(captured, side, 64, tensors)  # before there is a graph
    captured.launch(first, side.stream)
    del first
    second = bind(captured, side, 64, tensors)
    assert second.bindings is recorded()
    assert second.inputs["x"] is tensors["x"]
    other_size = bind(captured, side, 65)
    for bindings in (early, second, other_size, second, other_size):
        captured.launch(bindings, side.stream)
    assert (captured.counts.captures, captured.counts.recaptures) == (2, 0)
    assert captured.counts.replays == 4
    del early, second, bindings
    assert recorded() is not None
    captured.close()
    assert recorded() is None


def test_new_addresses_are_seen(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    y = side.tensor(values(200, 9))
    for seed in range(3):
        x = side.tensor(values(200, seed))
        bindings = bind(captured, side, 200, {"x": x, "y": y})
        for _ in range(2):
            captured.launch(bindings, side.stream)
            out = side.get(bindings.outputs["out"])
            np.testing.assert_array_equal(out, expected(values(200, seed), values(200, 9)))
    assert (captured.counts.captures, captured.counts.recaptures) == (3, 0)
    captured.close()


def test_jobs_that_take_turns_keep_their_graphs(side: DeviceSide) -> None:
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add", kept=2)
    first, second, third = (bind(captured, side, 8) for _ in range(3))
    for bindings in (first, second, first, second):
        captured.launch(bindings, side.stream)
    assert (captured.counts.captures, captured.counts.recaptures) == (2, 0)
    captured.launch(third, side.stream)  # in the place of the first
    captured.launch(second, side.stream)
    captured.launch(first, side.stream)
    assert (captured.counts.captures, captured.counts.recaptures) == (4, 2)
    assert captured.counts.replays == 3
    captured.close()


def test_a_graph_that_is_forgotten_has_run(fake: FakeCuda, side: DeviceSide) -> None:
    """Its bindings go with it, and own memory that its kernels use."""
    if side.host_folder is None:
        pytest.skip("only the made-up driver tells what is pending")
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add", kept=1)
    pending: list[int] = []
    first = bind(captured, side, 8)
    weakref.finalize(first.bindings, lambda: pending.append(fake.pending(side.stream)))
    captured.launch(first, side.stream)
    captured.launch(first, side.stream)
    del first
    captured.launch(bind(captured, side, 8), side.stream)
    assert pending == [0]
    captured.close()


def test_an_executor_that_waits_is_launched_without_a_graph(
    side: DeviceSide, caplog: pytest.LogCaptureFixture
) -> None:
    executor = ScaleAdd(side)
    captured = CapturedExecutor(executor, side.device, "the decoder")
    executor.before = lambda: side.device.synchronize(side.stream)
    for length in (100, 200):
        bindings = bind(captured, side, length)
        for seed in range(3):
            side.put(values(length, seed), bindings.inputs["x"])
            side.put(values(length, 2), bindings.inputs["y"])
            captured.launch(bindings, side.stream)
            out = side.get(bindings.outputs["out"])
            np.testing.assert_array_equal(out, expected(values(length, seed), values(length, 2)))
    assert (captured.counts.captures, captured.counts.failures) == (0, 2)
    assert executor.launches == 2 * (3 + 1)
    [warning] = caplog.messages
    assert re.search(r"the decoder cannot be captured.*CAPTURE", warning)
    # Another size, which does not wait, has one.
    executor.before = lambda: None
    captured.launch(bind(captured, side, 4), side.stream)
    assert captured.counts.captures == 1
    captured.close()


def test_nothing_is_captured_beside_a_load(side: DeviceSide) -> None:
    """It would spoil the load and itself. The launch runs, and the next one is captured."""
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    bindings = bind(captured, side, 10)
    side.put(values(10, 1), bindings.inputs["x"])
    side.put(values(10, 2), bindings.inputs["y"])
    with side.device.gate.loading(), side.device.gate.loading():
        captured.launch(bindings, side.stream)
    out = side.get(bindings.outputs["out"])
    np.testing.assert_array_equal(out, expected(values(10, 1), values(10, 2)))
    assert (captured.counts.captures, captured.counts.failures) == (0, 0)
    captured.launch(bindings, side.stream)
    captured.launch(bindings, side.stream)
    assert (captured.counts.captures, captured.counts.replays) == (1, 1)
    captured.close()


def test_a_load_waits_for_a_capture(side: DeviceSide) -> None:
    """Else its wait for the whole GPU would fail, and the capture with it."""
    executor = ScaleAdd(side)
    captured = CapturedExecutor(executor, side.device, "scale_add")
    bindings = bind(captured, side, 10)
    codes: list[str] = []

    def load() -> None:
        side.device.make_current()
        with side.device.gate.loading():
            (code,) = side.device.bindings.cuCtxSynchronize()
            codes.append(code.name)

    loader = threading.Thread(target=load)

    def load_beside() -> None:
        if executor.launches == 2:  # the one that is recorded
            loader.start()
            loader.join(timeout=0.1)
            assert loader.is_alive()

    executor.before = load_beside
    captured.launch(bindings, side.stream)
    loader.join()
    assert codes == ["CUDA_SUCCESS"]
    assert (captured.counts.captures, captured.counts.failures) == (1, 0)
    captured.close()


def test_what_an_executor_raises_in_a_capture_leaves_the_stream_usable(side: DeviceSide) -> None:
    executor = ScaleAdd(side)
    captured = CapturedExecutor(executor, side.device, "scale_add")
    bindings = bind(captured, side, 100)
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
        captured.launch(bind(captured, side, 4), stream)
    captured.close()


def test_a_graph_that_does_not_fit_is_done_without(
    fake: FakeCuda, side: DeviceSide, caplog: pytest.LogCaptureFixture
) -> None:
    if side.host_folder is None:
        pytest.skip("a GPU does not run out of memory on demand")
    captured = CapturedExecutor(ScaleAdd(side), side.device, "scale_add")
    bindings = bind(captured, side, 4)
    fake.failures["cuGraphInstantiate"] = "CUDA_ERROR_OUT_OF_MEMORY"
    captured.launch(bindings, side.stream)
    assert "no GPU memory" in caplog.text
    assert "graphs" not in fake.live
    captured.launch(bindings, side.stream)
    assert (captured.counts.captures, captured.counts.replays) == (0, 0)
    captured.close()


def test_closing_frees_the_graphs_and_the_executor(fake: FakeCuda, host_folder: Path) -> None:
    side = DeviceSide(Device(bindings=fake), host_folder)
    executor = ScaleAdd(side)
    captured = CapturedExecutor(executor, side.device, "scale_add")
    captured.launch(bind(captured, side, 4), side.stream)
    assert fake.live["executables"] == 1
    captured.close()
    assert executor.closed
    assert not {"graphs", "executables"} & set(fake.live)
    side.close()
