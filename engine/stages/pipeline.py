"""Does one unit of a job's work: conditioning, a denoising step, or decoding."""

from __future__ import annotations

import numpy as np

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import ExecutionError
from wan_trt.engine.executors import Executors
from wan_trt.engine.job import Job, JobTensors
from wan_trt.engine.request import Step
from wan_trt.engine.scheduler import Stage, Unit
from wan_trt.engine.solver import History
from wan_trt.engine.stages.conditioning import Conditioner
from wan_trt.engine.stages.decode import decode_segment
from wan_trt.engine.stages.denoise import Denoiser
from wan_trt.engine.stages.text import TextEncoder
from wan_trt.engine.stages.vae import Vae
from wan_trt.engine.validation import latent_shape, read_noise


class Pipeline:
    """The stages of one bundle. What belongs to a job lies in its JobTensors."""

    def __init__(self, bundle: Bundle, executors: Executors) -> None:
        self._bundle = bundle
        self._executors = executors
        self._vae = Vae(executors)
        self._conditioner = Conditioner(
            bundle.manifest.geometry, executors, TextEncoder(bundle, executors), self._vae
        )

    def run(self, unit: Unit, job: Job) -> None:
        """Raises a WanTrtError, or whatever the job's sources and sink raise."""
        if unit.stage is Stage.CONDITIONING:
            self._condition(job)
        elif unit.step is not None:
            self._denoise(job, unit.step)
        else:
            self._decode(job)

    def _condition(self, job: Job) -> None:
        if job.tensors is None:
            job.tensors = self._tensors(job)
        tensors, segment = job.tensors, job.segment
        self._conditioner.segment(
            job.request, tensors.condition, segment, tensors.carried, tensors.segment, job.check
        )
        shape = latent_shape(job.request, self._bundle.manifest)
        noise = (
            job.seeded_noise.segment(segment.index, shape)
            if job.request.noise is None
            else read_noise(job.request, segment.index, shape)
        )
        np.copyto(tensors.denoiser.latents, noise)
        tensors.history = History()

    def _tensors(self, job: Job) -> JobTensors:
        condition = self._conditioner.job(job.request, job.check)
        segment = self._conditioner.allocate(job.request)
        guided = condition.negative_rows is not None
        black_motion = self._conditioner.black_motion() if guided else None
        denoiser = Denoiser(self._bundle, self._executors, condition, segment, black_motion)
        pose = job.request.pose
        carried = np.zeros((3, job.plan.overlap, pose.height, pose.width), np.float32)
        return JobTensors(condition, segment, denoiser, carried)

    def _denoise(self, job: Job, step: Step) -> None:
        tensors = _running(job)
        latents = tensors.denoiser.latents
        velocity = tensors.denoiser.velocity(
            step.expert, step.timestep, job.guidance(step.expert), version=step.segment
        )
        tensors.history.advance(job.coefficients(step), latents, velocity)
        if not np.isfinite(latents).all():
            raise ExecutionError(
                f"latents became NaN or infinite in segment {step.segment}, step {step.index} "
                f"(timestep {step.timestep}, {step.expert.value}-noise expert)",
                expected="finite values",
                action="lower the guidance or shift, or check the bundle's weights",
            )

    def _decode(self, job: Job) -> None:
        tensors = _running(job)
        decode_segment(
            self._vae,
            tensors.denoiser.latents,
            job.segment,
            tensors.carried,
            job.sink,
            job.check,
        )


def _running(job: Job) -> JobTensors:
    assert job.tensors is not None, "a segment is conditioned before it is denoised"
    return job.tensors
