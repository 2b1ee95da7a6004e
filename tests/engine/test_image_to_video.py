"""Image-to-video on a small bundle with two experts: requests, condition, guidance, experts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wan_trt.engine import (
    AnimateRequest,
    ArrayFrames,
    Bundle,
    CollectedFrames,
    Engine,
    Event,
    ExpertName,
    ImageToVideoRequest,
    Sampling,
)
from wan_trt.engine.errors import InputError
from wan_trt.engine.executors import Executors
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.ort import load_executor
from wan_trt.engine.segments import plan_clip
from wan_trt.engine.stages.encoders import Encoders
from wan_trt.engine.stages.image_to_video import ImageToVideoConditioning
from wan_trt.engine.stages.vae import Vae
from wan_trt.engine.stills import still
from wan_trt.engine.validation import latent_shape, validate_request

SAMPLING = Sampling(steps=3, guidance=(2.0, 2.0))


def picture(height: int = 20, width: int = 30, seed: int = 0) -> NDArray[np.uint8]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def request(**fields: Any) -> ImageToVideoRequest:
    """A clip of 9 frames of 48x32 pixels."""
    values: dict[str, Any] = {"reference": picture(), "frames": 9, "area": 48 * 32}
    return ImageToVideoRequest(**(values | {"sampling": SAMPLING} | fields))


def go_on() -> None:
    """Nothing stops the work."""


@pytest.fixture(scope="module")
def encoders(i2v_bundle: Bundle) -> Iterator[Encoders]:
    executors = Executors(i2v_bundle, load_executor)
    backend = HostBackend()
    yield Encoders(i2v_bundle, executors, Vae(executors, backend))
    executors.close()
    backend.close()


@pytest.fixture(scope="module")
def engine(i2v_bundle: Bundle) -> Iterator[Engine]:
    with Engine(i2v_bundle) as engine:
        yield engine


def generate(engine: Engine, wanted: ImageToVideoRequest) -> CollectedFrames:
    sink = CollectedFrames()
    engine.generate(wanted, sink)
    return sink


def condition_of(encoders: Encoders, wanted: ImageToVideoRequest) -> NDArray[np.float32]:
    geometry = encoders.geometry
    _, *grid = encoders.latent_shape(wanted.frames, wanted.height, wanted.width)
    rows = np.empty((geometry.text_tokens, geometry.text_dim), np.float32)
    tensors = {
        "condition": np.empty((20, *grid), np.float32),
        "text_rows": rows,
        "negative_rows": rows.copy(),
    }
    conditioning = ImageToVideoConditioning(wanted, encoders, tensors, go_on)
    nothing = np.zeros((3, 0, wanted.height, wanted.width), np.float32)
    conditioning.encode(plan_clip(wanted.frames).segments[0], nothing, go_on)
    return tensors["condition"]


def encoded(encoders: Encoders, clip: NDArray[np.float32]) -> NDArray[np.float32]:
    latents = np.empty(encoders.latent_shape(*clip.shape[1:]), np.float32)
    encoders.vae.encode(clip.shape[1], lambda a, b: clip[:, a:b], latents, go_on)
    return latents


def test_the_first_frame_is_given_and_the_rest_is_grey(encoders: Encoders) -> None:
    wanted = request()
    condition = condition_of(encoders, wanted)
    assert condition.shape == (20, 3, 4, 6)
    assert (condition[:4, 0] == 1).all()
    assert not condition[:4, 1:].any()
    clip = np.zeros((3, 9, 32, 48), np.float32)
    clip[:, 0] = still(wanted.reference, 32, 48)
    np.testing.assert_array_equal(condition[4:], encoded(encoders, clip))


def test_a_last_frame_is_given_too(encoders: Encoders) -> None:
    last = picture(40, 60, seed=1)
    condition = condition_of(encoders, request(last_frame=last))
    assert (condition[:4, 0] == 1).all()
    assert (condition[3, 2] == 1).all()  # channel 3 of the last latent is the last frame
    assert condition[:4].sum() == 5 * condition[0, 0].size
    clip = np.zeros((3, 9, 32, 48), np.float32)
    clip[:, 0] = still(picture(), 32, 48)
    clip[:, -1] = still(last, 32, 48)
    np.testing.assert_array_equal(condition[4:], encoded(encoders, clip))


def test_a_last_frame_of_another_aspect_is_cropped(encoders: Encoders) -> None:
    last = picture(40, 100, seed=1)
    cropped = request(last_frame=np.ascontiguousarray(last[:, 20:80]))
    np.testing.assert_array_equal(
        condition_of(encoders, request(last_frame=last)), condition_of(encoders, cropped)
    )


def test_a_clip_is_made_and_depends_on_what_is_given(engine: Engine) -> None:
    wanted = request()
    first = generate(engine, wanted)
    assert first.frames.shape == (9, 32, 48, 3)
    assert first.latents[0].shape == latent_shape(wanted, engine.bundle.manifest) == (16, 3, 4, 6)
    np.testing.assert_array_equal(generate(engine, wanted).frames, first.frames)
    for change in (
        {"reference": picture(seed=2)},
        {"last_frame": picture(seed=2)},
        {"prompt": "a cat"},
        {"negative_prompt": "a dog"},
        {"seed": 1},
        {"sampling": replace(SAMPLING, guidance=(2.0, 3.0))},
        {"sampling": replace(SAMPLING, guidance=(3.0, 2.0))},
    ):
        assert np.abs(generate(engine, request(**change)).frames - first.frames).max() > 1e-4


def test_each_expert_has_its_timesteps_and_its_weights(engine: Engine, i2v_bundle: Bundle) -> None:
    events: list[Event] = []
    engine.generate(request(), CollectedFrames(), events.append)
    steps = [(event.timestep, event.expert) for event in events if event.expert]
    assert [expert for _, expert in steps] == [
        ExpertName.HIGH if timestep >= 900 else ExpertName.LOW for timestep, _ in steps
    ]
    assert {expert for _, expert in steps} == set(ExpertName)
    graphs = i2v_bundle.manifest.graphs
    for name in ("text_context", "segment_context", "denoiser"):
        assert set(graphs[name].weights) == {"high", "low"}


@pytest.mark.parametrize("guidance", [(0.0, 0.0), (0.5, 0.5)])
def test_guidance_mixes_both_branches(engine: Engine, guidance: tuple[float, float]) -> None:
    """At 1 the prompt alone counts (and a negative one is refused), at 0 the negative prompt alone,
    in between both."""
    sampling = replace(SAMPLING, guidance=guidance)
    texts = {"prompt": "a cat", "negative_prompt": "a dog"}
    found = generate(engine, request(sampling=sampling, **texts)).frames
    alone = replace(SAMPLING, guidance=(1.0, 1.0))
    cat, dog = (generate(engine, request(sampling=alone, prompt=t)).frames for t in texts.values())
    assert not np.array_equal(found, cat)
    if guidance == (0.0, 0.0):
        np.testing.assert_allclose(found, dog, atol=1e-5)


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("reference", {"reference": np.zeros((4, 4), np.uint8)}),
    ("reference", {"reference": np.zeros((4, 4, 3), np.float32)}),
    ("reference", {"reference": "photo.png"}),
    ("reference", {"reference": picture(2, 800)}),
    ("last_frame", {"last_frame": np.zeros((4, 4, 4), np.uint8)}),
    ("last_frame", {"last_frame": picture(), "frames": 1}),
    ("frames", {"frames": 8}),
    ("frames", {"frames": 0}),
    ("frames", {"frames": -3}),
    ("frames", {"frames": 9.0}),
    ("frames", {"frames": 4097}),
    ("area", {"area": 255}),
    ("area", {"area": 0}),
    ("area", {"area": 1.5e5}),
    ("area", {"area": 10**9}),
    ("area", {"reference": picture(10, 9000), "area": 4096 * 2304}),
    ("steps", {"sampling": Sampling(steps=0)}),
    ("prompt", {"prompt": "lone \ud800 surrogate"}),
    ("seed", {"seed": -1}),
]


@pytest.mark.parametrize(("field", "changes"), REFUSED)
def test_refused(i2v_bundle: Bundle, field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        validate_request(request(**changes), i2v_bundle.manifest)
    assert caught.value.field == field
    assert caught.value.given
    assert caught.value.expected


def test_one_frame_and_the_longest_clip_are_accepted(i2v_bundle: Bundle) -> None:
    for frames in (1, 5, 4093):
        plan, _ = validate_request(request(frames=frames), i2v_bundle.manifest)
        assert [segment.kept for segment in plan.segments] == [frames]


def test_a_request_for_another_model(i2v_bundle: Bundle) -> None:
    frames = ArrayFrames(np.zeros((9, 32, 48, 3), np.uint8))
    animate = AnimateRequest(reference=picture(), pose=frames, face=frames)
    with pytest.raises(InputError, match="a request for wan2"):
        validate_request(animate, i2v_bundle.manifest)
