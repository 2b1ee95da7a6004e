"""TensorRT plans beside torch, in the same run: a whole forward pass of the denoiser by one.

The plans are a bundle's, or of a denoiser of the real size with random weights, built on the spot,
each in a process of its own. They run as they are served: by the executor of wan-trt, captured as a
CUDA graph and replayed. Needs wan-trt beside torch, and its export for what is built on the spot.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from roofline.results import Setting, Stage
from roofline.session import Session
from roofline.sizes import DitSizes, VideoSize
from roofline.work import Attention, Linears, denoiser_terms, work

if TYPE_CHECKING:
    from roofline.random_plan import RandomDenoiser
    from wan_trt.engine.bundle import Bundle
    from wan_trt.engine.cuda.driver import Device
    from wan_trt.engine.executor import GraphSpec
    from wan_trt.engine.plan_entry import PlanEntry
    from wan_trt.export.synthetic.sizes import CheckpointSizes
    from wan_trt.plan.jobs import EngineJob

WHAT = "TensorRT plans"
MODE = "TensorRT"
BY_PLAN = "the plan's"

_BUILD_S = 1200.0  # a guess: no plan of this size has been built yet
_FORWARD_BUDGET_S = 8.0
_PATTERN = 1 << 20  # numbers that inputs repeat


def why_missing(device: torch.device) -> str | None:
    """Why no plan can be measured; None: it can."""
    if find_spec("tensorrt") is None:
        return "TensorRT is not installed"
    if find_spec("wan_trt") is None:
        return "wan-trt is not installed beside TensorRT: pip install 'wan-trt[trt,export]'"
    if device.type != "cuda":
        return "plans run on a GPU alone"
    return None


def measure(session: Session, bundle: Path | None) -> None:
    """The denoiser's plans in `bundle`, or, None, plans built on the spot."""
    if (why := why_missing(session.device)) is not None:
        session.missing(WHAT, why)
        return
    with session.noted(WHAT):
        from wan_trt.engine.cuda.driver import Device

        with closing(Device()) as device:
            runner = PlanRunner(session, device)
            if bundle is not None:
                runner.measure_bundle(bundle)
            else:
                runner.measure_random(*_made_up(session.plan.dit), build_in_a_process)


def build_in_a_process(job: EngineJob) -> None:
    from wan_trt.plan.jobs import EngineResult
    from wan_trt.plan.process import run_job

    module, log = "wan_trt.plan.tensorrt.engine_process", Path(job.folder) / "engine.log"
    run_job(module, job, EngineResult, log, lambda *_: None)


@dataclass
class PlanRunner:
    """Runs plans on a device that is torch's too: both use the primary context."""

    session: Session
    device: Device

    def __post_init__(self) -> None:
        import tensorrt as trt

        from wan_trt.engine.tensorrt.logger import ErrorRecorder, process_logger

        self._version: str = trt.__version__
        self._logger = process_logger()
        self._runtime = trt.Runtime(self._logger)
        self._runtime.error_recorder = ErrorRecorder(self._logger)

    def measure_bundle(self, path: Path) -> None:
        """A row for each video and weight set that has a plan for this GPU; a reason for each
        video that has none."""
        from wan_trt.engine.bundle import Bundle
        from wan_trt.engine.models import DENOISER
        from wan_trt.engine.tensorrt.plan_file import load_engine

        bundle = Bundle.open(path)
        if (why := _another_model(bundle, self.session.plan.dit)) is not None:
            self.session.missing(WHAT, why)
            return
        spec = bundle.manifest.graphs[DENOISER].spec
        linears = Linears.FP8 if bundle.manifest.precision == "fp8" else Linears.BF16
        for video in self.session.plan.videos:
            plans = list(self._of(bundle, video))
            if not plans:
                why = f"{path} has none of the denoiser for {self.device.gpu.name}"
                self.session.missing(f"{WHAT} at {video}", f"{why} and TensorRT {self._version}")
            for plan in plans:
                with self.session.noted(f"the plan {plan.name}"):
                    free = self.device.memory_info()[0]
                    engine = load_engine(bundle, plan, self._runtime, self._logger)
                    error = plan.parity.numbers.get("relative_error") if plan.parity else None
                    self._forward(video, linears, engine, spec, error, free)
                    del engine

    def _of(self, bundle: Bundle, video: VideoSize) -> Iterator[PlanEntry]:
        from wan_trt.engine.models import DENOISER

        for plan in bundle.manifest.plans:
            here = plan.runs_on(self.device.gpu.name, self._version)
            if here and plan.graph == DENOISER and plan.serves(symbols(video)):
                yield plan

    def measure_random(
        self, model: Any, sizes: CheckpointSizes, build: Callable[[EngineJob], None]
    ) -> None:
        """A row for FP8 and one for bfloat16 at each video, or the reason why not."""
        from roofline.random_plan import RandomDenoiser
        from wan_trt.export.precision import Precision

        kinds = {Linears.FP8: Precision.FP8, Linears.BF16: Precision.BF16}
        for linears, precision in kinds.items():
            with (
                self.session.noted(f"{WHAT}, {linears}"),
                tempfile.TemporaryDirectory(prefix="plans-") as folder,
            ):
                denoiser = RandomDenoiser.trace(model, sizes, precision, Path(folder))
                for video in self.session.plan.videos:
                    with self.session.noted(f"{WHAT}, {linears}, {video}"):
                        self.session.require(_BUILD_S)
                        self.measure_one(video, linears, denoiser, Path(folder), build)

    def measure_one(
        self,
        video: VideoSize,
        linears: Linears,
        denoiser: RandomDenoiser,
        folder: Path,
        build: Callable[[EngineJob], None],
    ) -> None:
        """A row of one plan, built now."""
        from wan_trt.engine.tensorrt.plan_file import read_engine
        from wan_trt.plan.jobs import PLAN

        build(denoiser.job(symbols(video), folder))
        free = self.device.memory_info()[0]
        action = "see the log of its build"
        engine = read_engine(folder / PLAN, self._runtime, self._logger, action)
        self._forward(video, linears, engine, denoiser.spec, None, free)

    def _forward(
        self,
        video: VideoSize,
        linears: Linears,
        engine: Any,
        spec: GraphSpec,
        error: float | None,
        free_before_nbytes: int,
    ) -> None:
        from wan_trt.engine.capture import CapturedExecutor
        from wan_trt.engine.cuda.device_tensor import Staging
        from wan_trt.engine.tensorrt.executor import TensorRtExecutor
        from wan_trt.plan.tensorrt.trial import TrialMemory

        session, device, sizes = self.session, self.device, symbols(video)
        with ExitStack() as resources:
            memory = TrialMemory(device, resources)
            stream = device.new_stream()
            resources.callback(device.destroy_stream, stream)
            staging = Staging(device)
            resources.callback(staging.close)
            tensors = {
                tensor.name: memory.tensor(tensor.shape(sizes), tensor.dtype)
                for tensor in (*spec.inputs, *spec.outputs)
            }
            for name, values in inputs(spec, sizes).items():
                staging.upload(values, tensors[name], stream)
            plain = TensorRtExecutor("the plan", spec, lambda _: engine, memory, self._logger)
            executor = CapturedExecutor(plain, device, "the plan")
            resources.callback(executor.close)
            resources.callback(device.synchronize, stream)
            bindings = executor.bind(sizes, tensors)
            executor.launch(bindings, stream)  # the warm-up, and the recording
            device.synchronize(stream)
            velocity = staging.download(tensors[spec.outputs[0].name], stream)
            if not np.isfinite(velocity).all():
                raise ArithmeticError("the velocity is not finite")

            def replay() -> None:
                executor.launch(bindings, stream)
                if session.device.type != "cuda":  # there are no events to wait for
                    device.synchronize(stream)

            with _current(stream, session.device):
                taken = session.clock.measure(
                    f"forward, {MODE}, {linears} linears, {video}",
                    replay,
                    _FORWARD_BUDGET_S,
                    least=2,
                    most=5,
                )
            how = "replayed" if executor.counts.captures else "not captured"
            terms = denoiser_terms(session.plan.dit, video)
            session.add(
                Stage.FORWARD,
                video,
                Setting(BY_PLAN, linears, f"{MODE} {self._version}, {how}"),
                taken,
                work(terms, linears, Attention.FLASH),  # its attention counted as bfloat16
                error,
                peak_nbytes=free_before_nbytes - device.memory_info()[0],
            )


def symbols(video: VideoSize) -> dict[str, int]:
    """The values of the denoiser's symbols."""
    return {
        "frames": video.latent_frames,
        "latents": video.latent_frames - 1,
        "rows": video.rows,
        "columns": video.columns,
    }


def inputs(spec: GraphSpec, sizes: Mapping[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    """Random ones, small: repeated from a pattern, for they are gigabytes. The timestep and tables
    of angles are what they may be."""
    pattern = np.random.default_rng(0).uniform(-1, 1, _PATTERN).astype(np.float32)
    return {
        tensor.name: np.full(tensor.shape(sizes), 500, tensor.dtype)
        if tensor.dtype == "int64"
        else np.resize(pattern, tensor.shape(sizes))
        for tensor in spec.inputs
    }


def _current(stream: int, device: torch.device) -> AbstractContextManager[Any]:
    """torch's events go to this stream."""
    if device.type != "cuda":
        return nullcontext()
    external = torch.cuda.ExternalStream(stream)  # type: ignore[no-untyped-call]
    return torch.cuda.stream(external)


def _another_model(bundle: Bundle, dit: DitSizes) -> str | None:
    found, wanted = bundle.manifest.geometry, (dit.dim, dit.heads, dit.layers)
    faces = found.face is not None
    if (found.dim, found.heads, found.layers) == wanted and faces == bool(dit.face_interval):
        return None
    return f"{bundle.path} is no {dit.name}: see --model"


def _made_up(dit: DitSizes) -> tuple[Any, CheckpointSizes]:
    from wan_trt.engine.models import ModelName
    from wan_trt.export.synthetic.sizes import CheckpointSizes

    animate = bool(dit.face_interval)
    sizes = CheckpointSizes(
        dim=dit.dim,
        heads=dit.heads,
        ffn=dit.ffn,
        layers=dit.layers,
        frequency_dim=dit.frequency_dim,
        text_tokens=dit.text_keys,
        face_interval=dit.face_interval or 1,
    )
    return ModelName.ANIMATE if animate else ModelName.IMAGE_TO_VIDEO, sizes
