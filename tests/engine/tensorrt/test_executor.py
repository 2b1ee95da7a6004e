"""Plans behind the executor's contract, on a made-up TensorRT over a made-up driver."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import fake_tensorrt
import numpy as np
import pytest
from device_side import DeviceSide
from fake_cuda import FakeCuda
from numpy.typing import NDArray
from planned_toy import with_plan
from toy_jobs import MakeBundle

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.capture import CapturedExecutor
from wan_trt.engine.cuda.device_tensor import DeviceTensor
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import BundleError, ExecutionError, ResourceError
from wan_trt.engine.manifest import FileEntry
from wan_trt.engine.ort import load_executor

if TYPE_CHECKING:
    from wan_trt.engine.tensorrt.executor import TensorRtBindings, TensorRtExecutor

SIZES = {"frames": 3, "latents": 2, "rows": 1, "columns": 2}
LARGER = {**SIZES, "columns": 4}


@dataclass
class OneScratch:
    """Scratch and streams of one executor."""

    side: DeviceSide

    def __post_init__(self) -> None:
        self.asked: list[int] = []
        self._scratch = self.side.empty(fake_tensorrt.SCRATCH_NBYTES, dtype="uint8")

    def scratch(self, nbytes: int) -> int:
        self.asked.append(nbytes)
        return self._scratch.address

    def auxiliary_streams(self, count: int) -> list[int]:
        return [self.side.stream] * count


@pytest.fixture
def fake() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def side(fake: FakeCuda) -> Iterator[DeviceSide]:
    with fake_tensorrt.tensorrt_installed(fake):
        side = DeviceSide(Device(bindings=fake), host_folder=None)
        yield side
        side.close()
    assert fake.live == {}


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Bundle:
    return with_plan(with_plan(make_bundle(), "denoiser", SIZES), "denoiser", LARGER)


@pytest.fixture
def executor(bundle: Bundle, side: DeviceSide) -> TensorRtExecutor:
    return executor_of(bundle, side)


def executor_of(bundle: Bundle, side: DeviceSide) -> TensorRtExecutor:
    from wan_trt.engine.tensorrt.plans import Plans

    return Plans(bundle, side.device).executor("denoiser", "shared", OneScratch(side))


def bind(
    executor: TensorRtExecutor,
    side: DeviceSide,
    sizes: Mapping[str, int],
    given: Mapping[str, DeviceTensor] | None = None,
) -> TensorRtBindings:
    """New tensors for all that are not given."""
    specs = (*executor.spec.inputs, *executor.spec.outputs)
    new = {spec.name: side.empty(*spec.shape(sizes), dtype=spec.dtype) for spec in specs}
    return executor.bind(sizes, {**new, **(given or {})})


def tensors_of(bindings: TensorRtBindings) -> dict[str, DeviceTensor]:
    return {**bindings.inputs, **bindings.outputs}


def inputs_of(bundle: Bundle, sizes: Mapping[str, int], seed: int = 0) -> dict[str, NDArray[Any]]:
    generator = np.random.default_rng(seed)
    return {
        spec.name: generator.normal(0, 9, spec.shape(sizes)).astype(spec.dtype)
        for spec in bundle.manifest.graphs["denoiser"].inputs
    }


def expected(bundle: Bundle, sizes: Mapping[str, int], seed: int = 0) -> NDArray[np.float32]:
    executor = load_executor(bundle, "denoiser", "shared", threads=1)
    bindings = executor.bind(sizes)
    for name, value in inputs_of(bundle, sizes, seed).items():
        bindings.inputs[name][...] = value
    executor.launch(bindings)
    return np.array(bindings.outputs["velocity"])


@pytest.mark.parametrize("sizes", [SIZES, LARGER])
def test_a_plan_computes_what_the_graph_does(
    bundle: Bundle, executor: TensorRtExecutor, side: DeviceSide, sizes: dict[str, int]
) -> None:
    bindings = bind(executor, side, sizes)
    for name, value in inputs_of(bundle, sizes).items():
        side.put(value, bindings.inputs[name])
    executor.launch(bindings, side.stream)
    assert np.array_equal(side.get(bindings.outputs["velocity"]), expected(bundle, sizes))


def test_a_launch_only_enqueues(
    executor: TensorRtExecutor, side: DeviceSide, fake: FakeCuda
) -> None:
    bindings = bind(executor, side, SIZES)
    side.device.synchronize(side.stream)
    fake.calls.clear()
    executor.launch(bindings, side.stream)
    assert fake.calls == []
    assert fake.pending(side.stream) == 1
    side.device.synchronize(side.stream)


def test_launches_can_be_captured(
    bundle: Bundle, executor: TensorRtExecutor, side: DeviceSide
) -> None:
    captured = CapturedExecutor(executor, side.device, "denoiser")
    bindings = captured.bind(SIZES, tensors_of(bind(executor, side, SIZES)))
    for seed in range(4):
        for name, value in inputs_of(bundle, SIZES, seed).items():
            side.put(value, bindings.inputs[name])
        captured.launch(bindings, side.stream)
        assert np.array_equal(side.get(bindings.outputs["velocity"]), expected(bundle, SIZES, seed))
    assert (captured.counts.captures, captured.counts.recaptures) == (1, 0)
    assert captured.counts.replays == 3
    captured.close()


def test_a_graph_keeps_the_context_that_it_was_recorded_from(
    bundle: Bundle, executor: TensorRtExecutor, side: DeviceSide
) -> None:
    """One clip after the other: each binds anew, at the addresses of the one before."""
    captured = CapturedExecutor(executor, side.device, "denoiser")
    tensors = tensors_of(bind(executor, side, SIZES))
    for seed in range(3):
        bindings = captured.bind(SIZES, tensors)
        for name, value in inputs_of(bundle, SIZES, seed).items():
            side.put(value, bindings.inputs[name])
        captured.launch(bindings, side.stream)
        del bindings
        found = side.get(tensors["velocity"])
        assert np.array_equal(found, expected(bundle, SIZES, seed))
    assert captured.counts.replays == 2
    captured.close()


def test_launches_do_not_tell_of_every_layer(executor: TensorRtExecutor, side: DeviceSide) -> None:
    """Plans are built with details, for the inspector; in a launch they would cost time."""
    context: Any = bind(executor, side, SIZES).context
    assert context.nvtx_verbosity is fake_tensorrt.ProfilingVerbosity.LAYER_NAMES_ONLY


def test_given_tensors_are_used(executor: TensorRtExecutor, side: DeviceSide) -> None:
    bindings = bind(executor, side, SIZES)
    latents = side.empty(16, 3, 2, 4)
    again = bind(executor, side, SIZES, {"latents": latents})
    assert again.inputs["latents"] is latents
    assert again.inputs["tokens"] != bindings.inputs["tokens"]
    with pytest.raises(ValueError, match="latents must be contiguous float32"):
        bind(executor, side, LARGER, {"latents": latents})
    with pytest.raises(ValueError, match="no tensors"):
        bind(executor, side, SIZES, {"latent": latents})


def test_contexts_share_their_scratch(bundle: Bundle, side: DeviceSide) -> None:
    from wan_trt.engine.tensorrt.plans import Plans

    # As the API asks: of all shapes, though the ones at hand need less.
    memory = OneScratch(side)
    executor = Plans(bundle, side.device).executor("denoiser", "shared", memory)
    bind(executor, side, SIZES)
    bind(executor, side, LARGER)
    assert memory.asked == [fake_tensorrt.SCRATCH_NBYTES] * 2


def test_a_size_without_a_plan(executor: TensorRtExecutor) -> None:
    with pytest.raises(BundleError, match=r"no plan of denoiser .* columns 9, frames 3") as caught:
        executor.bind({**SIZES, "columns": 9})
    assert "wan-trt build" in caught.value.action


def test_a_plan_of_another_gpu_is_not_used(bundle: Bundle, side: DeviceSide) -> None:
    from wan_trt.engine.tensorrt.plans import Plans

    plans = Plans(bundle, side.device)
    assert plans.serves("denoiser", "shared", SIZES)
    fake_tensorrt.__version__, version = "11.5.0.1", fake_tensorrt.__version__
    try:
        assert not plans.serves("denoiser", "shared", SIZES)
    finally:
        fake_tensorrt.__version__ = version


def test_a_plan_that_was_changed_is_not_run(bundle: Bundle, side: DeviceSide) -> None:
    file = bundle.path / bundle.manifest.plans[0].file
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleError, match="has sha256"):
        executor_of(bundle, side).bind(SIZES)


def test_a_plan_of_another_graph(make_bundle: MakeBundle, side: DeviceSide) -> None:
    bundle = with_plan(make_bundle(), "text_context", SIZES)
    renamed = bundle.manifest.to_json().replace('"graph": "text_context"', '"graph": "denoiser"')
    (bundle.path / "manifest.json").write_text(renamed, encoding="utf-8")
    with pytest.raises(BundleError, match="the plan of denoiser has inputs"):
        executor_of(Bundle.open(bundle.path), side).bind(SIZES)


@pytest.mark.parametrize(
    ("code", "error"),
    [("FAILED_ALLOCATION", ResourceError), ("FAILED_EXECUTION", ExecutionError)],
)
def test_what_tensorrt_reports_is_the_error(
    executor: TensorRtExecutor,
    side: DeviceSide,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    error: type[Exception],
) -> None:
    bindings = bind(executor, side, SIZES)

    def fail(context: Any, _stream: int) -> bool:
        recorder = context.engine.error_recorder
        recorder.report_error(fake_tensorrt.ErrorCodeTRT[code], "a reason\n  in two lines")
        return False

    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "execute_async_v3", fail)
    with pytest.raises(error, match=f"denoiser.*{code}: a reason in two lines"):
        executor.launch(bindings, side.stream)
    monkeypatch.undo()
    executor.launch(bindings, side.stream)  # what failed once may work again
    side.device.synchronize(side.stream)


def test_only_what_is_said_during_a_call_is_its_error(
    executor: TensorRtExecutor, side: DeviceSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT reports errors that it gets over itself: a tactic that does not fit, say."""
    bindings = bind(executor, side, SIZES)
    execute = fake_tensorrt.IExecutionContext.execute_async_v3

    def get_over(context: Any, stream: int) -> bool:
        code = fake_tensorrt.ErrorCodeTRT.FAILED_ALLOCATION
        context.engine.error_recorder.report_error(code, "out of memory in a tactic")
        return execute(context, stream)

    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "execute_async_v3", get_over)
    executor.launch(bindings, side.stream)
    monkeypatch.setattr(fake_tensorrt.IExecutionContext, "execute_async_v3", lambda *_: False)
    with pytest.raises(ExecutionError, match="TensorRT gives no reason"):
        executor.launch(bindings, side.stream)
    side.device.synchronize(side.stream)


@pytest.mark.usefixtures("side")
@pytest.mark.parametrize("where", ["the other call's thread", "a thread of TensorRT's own"])
def test_calls_of_two_threads_have_their_own_errors(where: str) -> None:
    from wan_trt.engine.tensorrt.logger import process_logger

    logger: Any = process_logger()
    logger.begin()

    def say() -> None:
        if where == "the other call's thread":
            logger.begin()
        logger.log(fake_tensorrt.ILogger.Severity.ERROR, "heard there")

    other = threading.Thread(target=say)
    other.start()
    other.join()
    expected = "gives no reason" if where == "the other call's thread" else "heard there"
    assert expected in str(logger.failure("a call", "nothing"))


def test_plans_of_two_lanes_have_one_logger(bundle: Bundle, side: DeviceSide) -> None:
    """TensorRT tells the first one what it says without saying for whom."""
    from wan_trt.engine.tensorrt.plans import Plans

    broken = with_broken_plan(bundle)
    lanes = [Plans(broken, side.device) for _ in range(2)]
    for plans in lanes:
        executor = plans.executor("denoiser", "shared", OneScratch(side))
        with pytest.raises(ExecutionError, match=r"magic tag .* deserialization failed"):
            executor.bind(SIZES)


def with_broken_plan(bundle: Bundle) -> Bundle:
    """Its first plan is what the manifest says, and no plan."""
    [broken, *others] = bundle.manifest.plans
    data = b"not a plan"
    broken = replace(broken, sha256=hashlib.sha256(data).hexdigest(), nbytes=len(data))
    (bundle.path / broken.file).write_bytes(data)
    files = {**bundle.manifest.files, broken.file: FileEntry(broken.sha256, broken.nbytes)}
    manifest = replace(bundle.manifest, plans=(broken, *others), files=files)
    (bundle.path / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return Bundle.open(bundle.path)


def test_a_stream_is_needed_and_a_closed_executor_refuses(
    executor: TensorRtExecutor, side: DeviceSide
) -> None:
    bindings = bind(executor, side, SIZES)
    with pytest.raises(ValueError, match="stream"):
        executor.launch(bindings)
    executor.close()
    with pytest.raises(ValueError, match="closed"):
        executor.launch(bindings, side.stream)


def test_a_trial_run_of_a_build(bundle: Bundle, side: DeviceSide) -> None:
    from wan_trt.engine.tensorrt.logger import ErrorRecorder, process_logger
    from wan_trt.plan.tensorrt import trial

    logger = process_logger()
    runtime = fake_tensorrt.Runtime(logger)
    runtime.error_recorder = ErrorRecorder(logger)
    plan = (bundle.path / bundle.manifest.plans[0].file).read_bytes()
    engine: Any = runtime.deserialize_cuda_engine(plan)
    outputs = trial.run(
        engine, inputs_of(bundle, SIZES), {"velocity": (16, 3, 2, 4)}, side.device, logger
    )
    assert np.array_equal(outputs["velocity"], expected(bundle, SIZES))
