"""What a job costs: nothing is computed twice, and memory does not grow with its length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toy_jobs import MakeBundle, MakeRequest

from wan_trt.engine import AnimateRequest, Bundle, CollectedFrames, Engine, JobSummary, Sampling
from wan_trt.engine.executor import Bindings, Executor, GraphSpec
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.job import Job
from wan_trt.engine.ort import load_executor
from wan_trt.engine.stages.pipeline import Pipeline
from wan_trt.engine.validation import validate_request


class Counted:
    """An executor that counts its launches."""

    def __init__(self, executor: Executor, counter: Counter[str], name: str) -> None:
        self._executor, self._counter, self._name = executor, counter, name
        self.spec: GraphSpec = executor.spec

    def bind(
        self, sizes: Mapping[str, int], tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> Bindings:
        return self._executor.bind(sizes, tensors)

    def launch(self, bindings: Bindings, stream: int | None = None) -> None:
        self._counter[self._name] += 1
        self._executor.launch(bindings, stream)

    def close(self) -> None:
        self._counter[f"close {self._name}"] += 1
        self._executor.close()


def count_launches(bundle: Bundle, request: AnimateRequest) -> Counter[str]:
    """Launches of each "graph/weight set" over a whole job."""
    counter: Counter[str] = Counter()

    def load(bundle: Bundle, graph: str, weight_set: str) -> Executor:
        executor = load_executor(bundle, graph, weight_set, threads=1)
        return Counted(executor, counter, f"{graph}/{weight_set}")

    plan, schedule = validate_request(request, bundle.manifest)
    sink = CollectedFrames()
    job = Job("counted", request, sink, None, plan, schedule, bundle.manifest.boundary)
    with closing(HostBackend()) as backend:
        pipeline = Pipeline(bundle, Executors(bundle, load), backend)
        while True:
            pipeline.run(job.unit, job)
            following = job.cursor.following(len(plan.segments), schedule.steps)
            if following is None:
                return counter
            job.cursor = following


SHARED_WORK = {
    "image_encoder/shared": 1,
    "close image_encoder/shared": 1,
    # reference, grey, carried frames; pose twice
    "vae_encoder_first/shared": 5,
    "vae_encoder_next/shared": 4,
    "vae_decoder_first/shared": 2,
    "vae_decoder_next/shared": 2,
}


def test_two_experts_with_guidance_compute_each_context_once(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    """Two segments of one high-noise and two low-noise steps, both guided."""
    request = make_request(frames=9, sampling=Sampling(steps=3, guidance=(2.0, 2.0)))
    expected = dict(SHARED_WORK) | {"motion_encoder/shared": 3}  # one for the black face
    for expert, steps in (("high", 2), ("low", 1)):
        expected |= {
            f"text_context/{expert}": 2,
            f"image_context/{expert}": 1,
            f"face_context/{expert}": 2 + 1,
            f"segment_context/{expert}": 2,
            f"denoiser/{expert}": 2 * steps * 2,
        }
    assert count_launches(make_bundle(high=0.5, low=0.25), request) == expected


def test_experts_with_one_weight_set_share_their_contexts(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    request = make_request(frames=9, sampling=Sampling(steps=3))
    assert count_launches(make_bundle(), request) == SHARED_WORK | {
        "motion_encoder/shared": 2,
        "text_context/shared": 1,
        "image_context/shared": 1,
        "face_context/shared": 2,
        "segment_context/shared": 2,
        "denoiser/shared": 6,
    }


def test_guidance_of_one_expert_runs_no_second_branch_of_the_other(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    request = make_request(frames=5, sampling=Sampling(steps=3, guidance=(2.0, 1.0)))
    counts = count_launches(make_bundle(high=0.5, low=0.25), request)
    assert (counts["denoiser/high"], counts["denoiser/low"]) == (4, 1)
    assert (counts["text_context/high"], counts["text_context/low"]) == (2, 1)


def test_a_custom_prompt_loads_the_text_encoder_and_lets_it_go(
    make_bundle: MakeBundle, make_request: MakeRequest, shared_tokenizer: bytes
) -> None:
    bundle = make_bundle()
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    counts = count_launches(bundle, make_request(frames=5, prompt="something else"))
    assert counts["text_encoder/shared"] == counts["close text_encoder/shared"] == 1
    own = count_launches(bundle, make_request(frames=5, prompt="  a person   moves "))
    assert own["text_encoder/shared"] == 0


def test_two_custom_prompts_load_the_text_encoder_once(
    make_bundle: MakeBundle, make_request: MakeRequest, shared_tokenizer: bytes
) -> None:
    bundle = make_bundle()
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    guided = Sampling(steps=1, guidance=(2.0, 2.0))
    request = make_request(frames=5, sampling=guided, prompt="a cat", negative_prompt="a dog")
    counts = count_launches(bundle, request)
    assert counts["text_encoder/shared"] == 2
    assert counts["close text_encoder/shared"] == 1


class Endless:
    """Frames made up when they are read."""

    rate = None

    def __init__(self, count: int, side: int) -> None:
        self.count, self.height, self.width = count, side, side

    def read(self, start: int, stop: int) -> NDArray[np.uint8]:
        return np.full((stop - start, self.height, self.width, 3), start % 256, np.uint8)

    def close(self) -> None:
        """Nothing is held open."""


class Forgetful:
    """A sink that counts frames."""

    frames = 0

    def write(self, frames: NDArray[np.float32]) -> None:
        self.frames += len(frames)

    def write_latents(self, segment: int, latents: NDArray[np.float32]) -> None:
        """Not kept."""

    def close(self) -> None:
        """Nothing to finish."""

    def abort(self) -> None:
        """Nothing to undo."""


@pytest.mark.parametrize("overlap", [1, 5])
def test_memory_does_not_grow_with_the_length_of_the_video(
    make_bundle: MakeBundle, make_request: MakeRequest, overlap: int
) -> None:
    """At 256x256 a segment of 13 frames is 10 MB of float32 pixels; 2 segments against 17."""

    def peak(summary: JobSummary) -> int:
        return max(usage.resident_nbytes for usage in summary.stages.values())

    def generate(engine: Engine, frames: int) -> JobSummary:
        sink = Forgetful()
        summary = engine.generate(
            make_request(
                pose=Endless(frames, 256),
                face=Endless(frames, 8),
                segment_frames=13,
                overlap=overlap,
                sampling=Sampling(steps=1),
            ),
            sink,
        )
        assert sink.frames == frames
        return summary

    with Engine(make_bundle(), threads=1) as engine:
        short = peak(generate(engine, 20))
        long = peak(generate(engine, 200))
    assert long - short < 16 << 20
