"""The recurrent driver on the toy VAE, whose latents are running sums of chunk means."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import CancelledError
from wan_trt.engine.executors import Executors
from wan_trt.engine.frames import CollectedFrames
from wan_trt.engine.host_backend import HostBackend
from wan_trt.engine.ort import load_executor
from wan_trt.engine.pixels import round_bfloat16
from wan_trt.engine.segments import plan_segments
from wan_trt.engine.stages.decode import decode_segment
from wan_trt.engine.stages.vae import Vae


def go_on() -> None:
    """A check that never stops the work."""


@pytest.fixture
def vae(make_bundle: Callable[..., Bundle]) -> Iterator[Vae]:
    executors = Executors(make_bundle(), load_executor)
    backend = HostBackend()
    yield Vae(executors, backend)
    executors.close()
    backend.memory.arena.check()
    assert backend.memory.arena.usage.held == {}, "a clip's memory was not given back"
    backend.close()


@pytest.mark.parametrize("frames", [1, 5, 9, 13, 21])
def test_state_goes_from_chunk_to_chunk(vae: Vae, frames: int) -> None:
    pixels = np.random.default_rng(0).normal(size=(3, frames, 16, 32)).astype(np.float32)
    latents = np.empty((16, (frames - 1) // 4 + 1, 2, 4), np.float32)
    vae.encode(frames, lambda start, stop: pixels[:, start:stop], latents, go_on)
    chunks = [pixels[:, :1], *(pixels[:, i : i + 4] for i in range(1, frames, 4))]
    means = [c.mean(axis=(0, 1)).reshape(2, 8, 4, 8).mean(axis=(1, 3)) for c in chunks]
    np.testing.assert_allclose(latents[3], np.cumsum(means, axis=0), atol=1e-5)


def test_a_clip_leaves_no_state_behind(vae: Vae) -> None:
    latents = np.random.default_rng(0).normal(size=(16, 4, 2, 4)).astype(np.float32)
    first = [chunk.copy() for chunk in vae.decode(latents)]
    again = [chunk.copy() for chunk in vae.decode(latents)]
    assert [chunk.shape[1] for chunk in first] == [1, 4, 4, 4]
    np.testing.assert_array_equal(np.concatenate(first, 1), np.concatenate(again, 1))
    expected = np.tanh(np.cumsum(latents.mean(axis=0), axis=0))
    np.testing.assert_allclose(first[3][0, 0, ::8, ::8], expected[3], atol=1e-6)


def test_encoding_stops_between_chunks(vae: Vae) -> None:
    seen: list[int] = []

    def check() -> None:
        if len(seen) == 2:
            raise CancelledError("enough")

    def read(start: int, stop: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        seen.append(start)
        return np.zeros((3, stop - start, 16, 32), np.float32)

    with pytest.raises(CancelledError):
        vae.encode(21, read, np.empty((16, 6, 2, 4), np.float32), check)
    assert seen == [0, 1]


@pytest.mark.parametrize("overlap", [1, 5])
def test_decoding_drops_carried_and_surplus_frames(vae: Vae, overlap: int) -> None:
    """Every segment gets the same latents, so its frames can be compared with a full decode."""
    latents = np.random.default_rng(0).normal(size=(16, 5, 2, 4)).astype(np.float32)
    decoded = np.concatenate([chunk.copy() for chunk in vae.decode(latents[:, 1:])], axis=1)
    plan = plan_segments(30, 13, overlap)
    sink = CollectedFrames()
    expected = []
    tail = np.zeros((3, overlap, 16, 32), np.float32)
    for segment in plan.segments:
        decode_segment(vae, latents, 1, segment, tail, sink, go_on)
        expected.append(decoded[:, segment.carried : segment.kept_stop])
        if segment.index + 1 < len(plan.segments):
            np.testing.assert_array_equal(
                tail, round_bfloat16(np.ascontiguousarray(decoded[:, -overlap:]))
            )
    frames = sink.frames.transpose(3, 0, 1, 2)
    np.testing.assert_array_equal(frames, np.concatenate(expected, axis=1))
    np.testing.assert_array_equal(sink.latents[0], latents)
