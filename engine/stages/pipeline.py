"""Does one unit of a job's work: conditioning, a denoising step, decoding, or the result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wan_trt.engine.backend import Backend, StepTensors
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.checkpoint import Checkpoint
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.errors import ExecutionError
from wan_trt.engine.executors import Executors
from wan_trt.engine.job import Job
from wan_trt.engine.job_tensors import JobTensors
from wan_trt.engine.lanes import APART, Lane, lane_of
from wan_trt.engine.memory.tensors import Holding
from wan_trt.engine.request import AnimateRequest, ImageToVideoRequest, Request, Step
from wan_trt.engine.rope import rope_tables
from wan_trt.engine.scheduling.unit import Stage, Unit
from wan_trt.engine.snapshot import clean_estimate, restore_carried, restore_latents, take_snapshot
from wan_trt.engine.space import Space
from wan_trt.engine.stages.animate import AnimateConditioning
from wan_trt.engine.stages.branches import Branches
from wan_trt.engine.stages.conditioning import Conditioning, Tensors
from wan_trt.engine.stages.decode import decode_segment
from wan_trt.engine.stages.denoise import Denoiser
from wan_trt.engine.stages.encoders import Encoders
from wan_trt.engine.stages.image_to_video import ImageToVideoConditioning
from wan_trt.engine.stages.job_layout import (
    SOLVER_NEWEST,
    SOLVER_OLDER,
    SOLVER_SAMPLE,
    STEP_BLOCK,
    UNCONDITIONAL_VELOCITY,
)
from wan_trt.engine.stages.job_memory import job_state
from wan_trt.engine.stages.vae import Check, Vae
from wan_trt.engine.validation import read_noise

JOB = "job"
"""The kind of memory: as much as a job needs from its first unit to its last."""


class Pipeline:
    """The stages of one bundle. What belongs to a job lies in its JobTensors."""

    def __init__(self, bundle: Bundle, executors: Executors, backend: Backend) -> None:
        self._manifest = bundle.manifest
        self._executors = {lane: executors.of(lane) for lane in APART}
        self._backend = backend
        self._vae = Vae(self._executors[Lane.CODING], backend)
        self._encoders = Encoders(bundle, self._executors[Lane.CODING], self._vae)

    def run(self, unit: Unit, job: Job) -> None:
        """Done by a thread that has the lane of the unit's stage. A unit that ends for want of
        memory may be run again: nothing of it has left the job.

        Raises a WanTrtError, or whatever the job's sources and sink raise."""
        match unit.stage:
            case Stage.CONDITIONING:
                self._condition(job)
            case Stage.DENOISE:
                assert unit.step is not None, "a denoising unit has a step"
                self._denoise(job, unit.step)
            case Stage.DECODE:
                self._decode(job)
            case Stage.RESULT:
                job.sink.close()
        if job.tensors is not None:
            job.tensors.holding.end_use()
        self.space_of(unit.stage).pace()

    def space_of(self, stage: Stage) -> Space:
        """Whose work a stage's is."""
        return self._backend.spaces[lane_of(stage)]

    def loading_s(self, stage: Stage) -> float:
        """Seconds that the lane of a stage has spent on loading graphs."""
        return self._executors[lane_of(stage)].loading_s

    def snapshot(self, cursor: Cursor, job: Job) -> Checkpoint:
        """What the job's units from `cursor` on need. Raises ExecutionError for latents that are
        not finite."""
        tensors = job.tensors
        assert tensors is not None, "a job without tensors has nothing to keep"
        checkpoint = take_snapshot(cursor, tensors, tensors.holding.space)
        _require_finite(job, tensors)
        return checkpoint

    def clean_estimate(self, job: Job) -> NDArray[np.float32]:
        """What the step just done takes the video's latents to be, float32 [16, F, h, w]."""
        tensors = self._running(job, Stage.DENOISE)
        latents = clean_estimate(tensors, tensors.holding.space)
        return latents[:, job.request.reference_latents :]

    def _condition(self, job: Job) -> None:
        tensors, segment = self._running(job, Stage.CONDITIONING), job.segment
        space = tensors.holding.space
        if job.resume is not None:
            restore_carried(job.resume, tensors)
        tensors.conditioning.encode(segment, tensors.carried, job.check)
        if job.resume is not None and job.resume.cursor.step:
            restore_latents(job.resume, tensors, space)
            return
        latents = tensors.step.latents
        if job.request.noise is None:
            self._backend.draw_noise(job.request.seed, segment.index, latents)
        else:
            space.write(latents, read_noise(job.request, segment.index, latents.shape))
        tensors.update.begin_segment()

    def _running(self, job: Job, stage: Stage) -> JobTensors:
        """The job's tensors, for the space of a stage; with what all segments share, where it only
        begins."""
        if job.tensors is None:
            job.tensors = self._tensors(job)
        job.tensors.holding.begin_use(self.space_of(stage))
        return job.tensors

    def _tensors(self, job: Job) -> JobTensors:
        """All memory of a job, and what does not change from segment to segment in it."""
        state = job_state(job.request, job.schedule, self._manifest)
        holding = self._backend.memory.hold(JOB, job.job_id, state.layout, self._vae.space)
        try:
            return self._filled(job, holding, state.branches, state.sizes)
        except BaseException:
            holding.close()
            raise

    def _filled(
        self, job: Job, holding: Holding, branches: Branches, sizes: dict[str, int]
    ) -> JobTensors:
        request, tensors = job.request, holding.tensors
        conditioning = self._conditioning(request, tensors, job.check)
        tables = rope_tables(
            sizes["frames"], sizes["rows"], sizes["columns"], self._manifest.geometry.head_dim
        )
        for name, table in zip(("rope_cos", "rope_sin"), tables, strict=True):
            self._vae.space.write(tensors[name], table)
        step = StepTensors(
            latents=tensors["latents"],
            conditional=tensors["velocity"],
            unconditional=tensors.get(UNCONDITIONAL_VELOCITY),
            sample=tensors[SOLVER_SAMPLE],
            newest=tensors[SOLVER_NEWEST],
            older=tensors[SOLVER_OLDER],
            block=tensors[STEP_BLOCK],
        )
        denoising = self._executors[Lane.DENOISING]
        stream = self.space_of(Stage.DENOISE).stream
        return JobTensors(
            conditioning=conditioning,
            denoiser=Denoiser(denoising, branches, sizes, tensors, step, stream),
            update=self._backend.new_update(step),
            holding=holding,
            carried=np.zeros((3, job.plan.overlap, request.height, request.width), np.float32),
        )

    def _conditioning(self, request: Request, tensors: Tensors, check: Check) -> Conditioning:
        match request:
            case AnimateRequest():
                return AnimateConditioning(request, self._encoders, tensors, check)
            case ImageToVideoRequest():
                return ImageToVideoConditioning(request, self._encoders, tensors, check)

    def _denoise(self, job: Job, step: Step) -> None:
        tensors = self._running(job, Stage.DENOISE)
        stream, guidance = tensors.holding.space.stream, job.request.guidance(step.expert)
        tensors.denoiser.prepare(step.expert, guidance, version=step.segment)
        tensors.update.write(step.timestep, job.coefficients(step), guidance, stream)
        tensors.denoiser.launch(step.expert, guidance)
        tensors.update.enqueue(stream)
        _require_finite(job, tensors)

    def _decode(self, job: Job) -> None:
        tensors = self._running(job, Stage.DECODE)
        if job.resume is not None:
            restore_latents(job.resume, tensors, tensors.holding.space)
        tensors.holding.space.wait()
        _require_finite(job, tensors)
        decode_segment(
            self._vae,
            tensors.step.latents,
            job.request.reference_latents,
            job.segment,
            tensors.carried,
            job.sink,
            job.check,
        )


def _require_finite(job: Job, tensors: JobTensors) -> None:
    """Of the steps that are done: on a GPU the last ones may still run."""
    index = tensors.update.first_bad_step
    if index is None:
        return
    step = job.step(index)
    raise ExecutionError(
        f"latents became NaN or infinite in segment {step.segment}, step {step.index} "
        f"(timestep {step.timestep}, {step.expert.value}-noise expert)",
        expected="finite values",
        action="lower the guidance or shift, or check the bundle's weights",
    )
