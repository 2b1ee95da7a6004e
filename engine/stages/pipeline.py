"""Does one unit of a job's work: conditioning, a denoising step, decoding, or the result."""

from __future__ import annotations

import numpy as np

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import ExecutionError
from wan_trt.engine.executors import Executors
from wan_trt.engine.job import Job, JobTensors
from wan_trt.engine.request import AnimateRequest, ImageToVideoRequest, Request, Step
from wan_trt.engine.scheduler import Stage, Unit
from wan_trt.engine.snapshot import restore_carried, restore_sampler
from wan_trt.engine.solver import History
from wan_trt.engine.stages.animate import AnimateConditioning
from wan_trt.engine.stages.conditioning import Conditioning
from wan_trt.engine.stages.decode import decode_segment
from wan_trt.engine.stages.denoise import Denoiser
from wan_trt.engine.stages.encoders import Encoders
from wan_trt.engine.stages.image_to_video import ImageToVideoConditioning
from wan_trt.engine.stages.vae import Check, Vae
from wan_trt.engine.validation import latent_shape, read_noise


class Pipeline:
    """The stages of one bundle. What belongs to a job lies in its JobTensors."""

    def __init__(self, bundle: Bundle, executors: Executors) -> None:
        self._manifest = bundle.manifest
        self._executors = executors
        self._vae = Vae(executors)
        self._encoders = Encoders(bundle, executors, self._vae)

    def run(self, unit: Unit, job: Job) -> None:
        """Raises a WanTrtError, or whatever the job's sources and sink raise."""
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

    def _condition(self, job: Job) -> None:
        tensors, segment = self._running(job), job.segment
        if job.resume is not None:
            restore_carried(job.resume, tensors)
        tensors.conditioning.encode(segment, tensors.carried, job.check)
        if job.resume is not None and job.resume.sampler is not None:
            restore_sampler(job.resume.sampler, tensors)
            return
        shape = latent_shape(job.request, self._manifest)
        noise = (
            job.seeded_noise.segment(segment.index, shape)
            if job.request.noise is None
            else read_noise(job.request, segment.index, shape)
        )
        np.copyto(tensors.denoiser.latents, noise)
        tensors.history = History()

    def _running(self, job: Job) -> JobTensors:
        """The job's tensors; with what all segments share, where it only begins."""
        if job.tensors is None:
            job.tensors = self._tensors(job)
        return job.tensors

    def _tensors(self, job: Job) -> JobTensors:
        request = job.request
        conditioning = self._conditioning(request, job.check)
        shape = latent_shape(request, self._manifest)
        denoiser = Denoiser(self._manifest.geometry, self._executors, conditioning, shape)
        carried = np.zeros((3, job.plan.overlap, request.height, request.width), np.float32)
        return JobTensors(conditioning, denoiser, carried)

    def _conditioning(self, request: Request, check: Check) -> Conditioning:
        match request:
            case AnimateRequest():
                return AnimateConditioning(request, self._encoders, check)
            case ImageToVideoRequest():
                return ImageToVideoConditioning(request, self._encoders, check)

    def _denoise(self, job: Job, step: Step) -> None:
        tensors = self._running(job)
        latents = tensors.denoiser.latents
        velocity = tensors.denoiser.velocity(
            step.expert, step.timestep, job.request.guidance(step.expert), version=step.segment
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
        tensors = self._running(job)
        if job.resume is not None and job.resume.sampler is not None:
            restore_sampler(job.resume.sampler, tensors)
        decode_segment(
            self._vae,
            tensors.denoiser.latents,
            job.request.reference_latents,
            job.segment,
            tensors.carried,
            job.sink,
            job.check,
        )
