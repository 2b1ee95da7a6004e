"""What a job's result depends on, on the toy bundle: its inputs, its seed, its experts."""

from __future__ import annotations

import numpy as np
import pytest
from toy_jobs import MakeBundle, MakeRequest, Sink

from wan_trt.engine import ArrayFrames, Engine, Event, Mode, Sampling
from wan_trt.engine.errors import ExecutionError


def test_the_same_seed_gives_the_same_video(engine: Engine, make_request: MakeRequest) -> None:
    first, again, other = Sink(), Sink(), Sink()
    engine.generate(make_request(seed=7), first)
    engine.generate(make_request(seed=7), again)
    engine.generate(make_request(seed=8), other)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert np.abs(first.frames - other.frames).max() > 1e-3


@pytest.mark.parametrize(
    "changes",
    [
        {"reference": np.full((20, 30, 3), 255, np.uint8)},
        {"pose": ArrayFrames(np.full((9, 16, 32, 3), 255, np.uint8))},
        {"face": ArrayFrames(np.full((9, 8, 8, 3), 255, np.uint8))},
        {"background": ArrayFrames(np.full((9, 16, 32, 3), 255, np.uint8))},
        {"mask": ArrayFrames(np.full((9, 16, 32, 3), 255, np.uint8))},
        {"prompt": "another prompt"},
        {"sampling": Sampling(steps=3, guidance=(2.0, 1.0))},
        {"sampling": Sampling(steps=3, guidance=(1.0, 2.0))},
        {"sampling": Sampling(steps=3, guidance=(2.0, 2.0)), "negative_prompt": "something"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_every_input_reaches_the_result(
    make_bundle: MakeBundle, make_request: MakeRequest, shared_tokenizer: bytes, changes: object
) -> None:
    bundle = make_bundle()
    (bundle.path / "tokenizer.json").write_bytes(shared_tokenizer)
    assert isinstance(changes, dict)
    base = {"sampling": changes["sampling"]} if "negative_prompt" in changes else {}
    plain, changed = Sink(), Sink()
    with Engine(bundle, threads=1) as engine:
        engine.generate(make_request(mode=Mode.REPLACE, **base), plain)
        engine.generate(make_request(mode=Mode.REPLACE, **changes), changed)
    assert np.abs(plain.frames - changed.frames).max() > 1e-4


@pytest.mark.parametrize(("boundary", "guidance"), [(2.0, (5.0, 1.0)), (0.0, (1.0, 5.0))])
def test_guidance_of_an_expert_that_never_runs_changes_nothing(
    make_bundle: MakeBundle,
    make_request: MakeRequest,
    boundary: float,
    guidance: tuple[float, float],
) -> None:
    """A boundary of 0 gives all timesteps to the high-noise expert, one above 1 none."""
    plain, guided = Sink(), Sink()
    with Engine(make_bundle(boundary=boundary), threads=1) as engine:
        engine.generate(make_request(), plain)
        engine.generate(make_request(sampling=Sampling(steps=3, guidance=guidance)), guided)
    np.testing.assert_array_equal(plain.frames, guided.frames)


def test_each_expert_runs_with_its_own_weights(
    make_bundle: MakeBundle, make_request: MakeRequest
) -> None:
    """The low-noise expert's weights are NaN: the first step below the boundary must fail."""
    with Engine(make_bundle(high=0.5, low=float("nan")), threads=1) as engine:
        sink = Sink()
        events: list[Event] = []
        with pytest.raises(ExecutionError, match=r"segment 0, step 2 \(timestep 833, low-noise"):
            engine.generate(make_request(sampling=Sampling(steps=4), frames=5), sink, events.append)
    assert sink.endings == ["abort"]
    assert [event.stage for event in events if event.stage] == [
        "conditioning",
        "denoise",
        "denoise",
    ]
