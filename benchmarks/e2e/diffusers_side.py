"""One run through diffusers, in a process of its own: `python -m e2e.diffusers_side JOB.json`.

Where diffusers' defaults differ from upstream, and its public interface allows another choice, it
gets upstream's: the schedule's noise levels and timesteps (a scheduler of our own), and the picture
of the image encoder (an image processor of our own). Everything is float32.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanAnimatePipeline
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file
from transformers import BatchFeature, PreTrainedTokenizerFast

from e2e import diffusers_models
from e2e.case import SHIFT, Inputs
from e2e.measurement import Job, Stage, Stopwatch, measure_call, report
from wan_trt.engine.request import SolverName
from wan_trt.engine.schedule import make_schedule
from wan_trt.export.checkpoint import Checkpoint
from wan_trt.export.modeling.clip import ImageEncoderSizes

TEXT_TOKENS = 512
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


class UpstreamEuler(FlowMatchEulerDiscreteScheduler):  # type: ignore[misc]
    """Euler's method over upstream's noise levels and whole timesteps."""

    def set_timesteps(
        self, num_inference_steps: int, device: torch.device | None = None, **_: object
    ) -> None:
        schedule = make_schedule(SolverName.EULER, num_inference_steps, SHIFT)
        sigmas, timesteps = list(schedule.sigmas[:-1]), [float(t) for t in schedule.timesteps]
        super().set_timesteps(sigmas=sigmas, timesteps=timesteps, device=device)


class UpstreamImageProcessor:
    """CLIP's input as upstream makes it: squeezed to a square, bicubic without antialiasing."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, images: Image.Image, return_tensors: str) -> BatchFeature:
        assert return_tensors == "pt", "the pipeline asks for torch tensors"
        pixels = torch.tensor(np.asarray(images)).permute(2, 0, 1)[None] / 127.5 - 1
        square = torch.nn.functional.interpolate(pixels, (self._size, self._size), mode="bicubic")
        mean, std = (torch.tensor(value).reshape(1, 3, 1, 1) for value in (_MEAN, _STD))
        return BatchFeature({"pixel_values": ((square + 1) / 2 - mean) / std})


def build(checkpoint: Checkpoint, with_text: bool) -> WanAnimatePipeline:
    """The pipeline over the checkpoint's weights; the text encoder only where it is needed."""
    tokenizer = text_encoder = None
    if with_text:
        text_encoder = diffusers_models.text_encoder(checkpoint)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(checkpoint.tokenizer), pad_token="<pad>", eos_token="</s>"
        )
    image_size = ImageEncoderSizes.read(diffusers_models.clip_weights(checkpoint)).image_size
    pipeline = WanAnimatePipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=diffusers_models.vae(checkpoint),
        scheduler=UpstreamEuler(),
        image_processor=UpstreamImageProcessor(image_size),
        image_encoder=diffusers_models.image_encoder(checkpoint),
        transformer=diffusers_models.transformer(checkpoint),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def watch(pipeline: WanAnimatePipeline, stopwatch: Stopwatch) -> None:
    """Count the time of the parts; the transformer's is without its two face encoders."""
    transformer, vae = pipeline.transformer, pipeline.vae
    for stage, module in (
        (Stage.TEXT, pipeline.text_encoder),
        (Stage.IMAGE, pipeline.image_encoder),
        (Stage.DENOISE, transformer),
        (Stage.FACE, transformer.motion_encoder),
        (Stage.FACE, transformer.face_encoder),
    ):
        if module is not None:
            module.forward = stopwatch.timed(stage, module.forward)
    vae.encode = stopwatch.timed(Stage.VAE_ENCODE, vae.encode)
    vae.decode = stopwatch.timed(Stage.VAE_DECODE, vae.decode)


def stored_rows(bundle: Path) -> torch.Tensor:
    """The bundle's embedding of the model's own prompt, zero-padded as the pipeline pads it."""
    rows = torch.from_numpy(load_file(bundle / "prompts.safetensors")["positive"])
    padded = rows.new_zeros(1, TEXT_TOKENS, rows.shape[1])
    padded[0, : len(rows)] = rows
    return padded


def main() -> None:
    job = Job.read(Path(sys.argv[1]))
    torch.set_num_threads(job.threads)
    inputs = Inputs.load(Path(job.inputs))
    stopwatch = Stopwatch()
    with torch.inference_mode():
        pipeline = build(Checkpoint.open(job.checkpoint), job.prompt is not None)
        watch(pipeline, stopwatch)
        text = (
            {"prompt": job.prompt}
            if job.prompt is not None
            else {"prompt_embeds": stored_rows(Path(job.bundle))}
        )
        height, width = inputs.reference.shape[:2]

        def generate() -> NDArray[np.float32]:
            frames = pipeline(
                image=Image.fromarray(inputs.reference),
                pose_video=_pictures(inputs.pose),
                face_video=_pictures(inputs.face),
                height=height,
                width=width,
                segment_frame_length=len(inputs.pose),
                num_inference_steps=job.steps,
                latents=torch.from_numpy(inputs.noise)[None],
                guidance_scale=1.0,
                **text,
            ).frames[0]
            return np.asarray(frames, np.float32) * 2 - 1

        report(job, *measure_call(generate, stopwatch))


def _pictures(frames: NDArray[np.uint8]) -> Sequence[Image.Image]:
    return [Image.fromarray(frame) for frame in frames]


if __name__ == "__main__":
    main()
