"""Small pure parts: rotary tables, noise, prompts, a job's cursor, forecasts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from wan_trt.engine.cuda.philox import GpuThreads, normal
from wan_trt.engine.cursor import Cursor
from wan_trt.engine.errors import BundleError
from wan_trt.engine.noise import SeededNoise
from wan_trt.engine.prompts import PromptTokenizer, clean_prompt
from wan_trt.engine.rope import rope_tables
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.engine.timing import StageTimes, forecast, resident_nbytes


def test_rotary_pairs_turn_with_frame_row_and_column() -> None:
    cos, sin = rope_tables(4, 6, 8, head_dim=128)
    assert cos.shape == sin.shape == (4, 6, 8, 64)
    angles = np.concatenate(
        [
            3 * 10000.0 ** (-np.arange(22) / 22),
            5 * 10000.0 ** (-np.arange(21) / 21),
            7 * 10000.0 ** (-np.arange(21) / 21),
        ]
    )
    np.testing.assert_allclose(cos[3, 5, 7], np.cos(angles), atol=1e-7)
    np.testing.assert_allclose(sin[3, 5, 7], np.sin(angles), atol=1e-7)
    assert np.all(cos[0, 0, 0] == 1)


def test_rope_golden(golden: Path) -> None:
    tensors = load_file(golden / "modules" / "rope.safetensors")
    frames, rows, columns = (int(n) for n in tensors["grid"])
    cos, sin = rope_tables(frames, rows, columns, head_dim=128)
    np.testing.assert_array_equal(cos.reshape(-1, 64), tensors["grid.cos"])
    np.testing.assert_array_equal(sin.reshape(-1, 64), tensors["grid.sin"])


def test_noise_continues_from_segment_to_segment() -> None:
    """Upstream's one generator: a draw of few elements takes one block of each thread."""
    shape = (16, 3, 2, 2)
    noise = SeededNoise(5)
    first, second = noise.segment(0, shape), noise.segment(1, shape)
    assert first.dtype == np.float32
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, normal(5, 0, shape))
    np.testing.assert_array_equal(second, normal(5, 1, shape))


def test_a_large_segment_takes_more_of_the_stream() -> None:
    gpu = GpuThreads(multiprocessors=1, threads_per_multiprocessor=256)
    shape = (16, 3, 8, 8)  # 3072 elements, 1024 at a time
    second = SeededNoise(5, gpu).segment(1, shape)
    np.testing.assert_array_equal(second, normal(5, 3, shape, gpu))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  people   walking,\n talking &amp; laughing  ", "people walking, talking & laughing"),
        ("twice &amp;amp; escaped", "twice & escaped"),
        ("色彩，过曝", "色彩,过曝"),
        ("", ""),
    ],
)
def test_prompts_are_cleaned_as_upstream_does(text: str, cleaned: str) -> None:
    assert clean_prompt(text) == cleaned


def test_token_ids_end_with_the_closing_token(tmp_path: Path, shared_tokenizer: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(shared_tokenizer)
    ids = PromptTokenizer(path, text_tokens=6).token_ids("abcdefghij")
    assert ids.dtype == np.int64
    assert len(ids) == 6
    assert ids[-1] == 1
    assert len(PromptTokenizer(path, text_tokens=6).token_ids("a")) < 6


def test_a_missing_tokenizer_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no_such"):
        PromptTokenizer(tmp_path / "no_such.json", text_tokens=6)


def test_token_ids_golden(golden: Path) -> None:
    prompts = json.loads((golden / "modules" / "t5_prompts.json").read_text())
    tensors = load_file(golden / "modules" / "t5.safetensors")
    path = golden / "checkpoint" / "google" / "umt5-xxl" / "tokenizer.json"
    tokenizer = PromptTokenizer(path, text_tokens=512)
    for number, prompt in enumerate(prompts["prompts"]):
        assert clean_prompt(prompt) == prompts["cleaned"][number]
        ids = tokenizer.token_ids(prompt)
        length = int(tensors[f"p{number}.length"])
        np.testing.assert_array_equal(ids, tensors[f"p{number}.ids"][:length])


def test_a_cursor_walks_through_conditioning_steps_and_decoding_to_the_result() -> None:
    cursor: Cursor | None = Cursor()
    walk = []
    while cursor is not None:
        walk.append((cursor.segment, cursor.stage.value, cursor.step))
        cursor = cursor.following(segments=2, steps=2)
    assert walk == [
        (0, "conditioning", 0),
        (0, "denoise", 0),
        (0, "denoise", 1),
        (0, "decode", 1),
        (1, "conditioning", 0),
        (1, "denoise", 0),
        (1, "denoise", 1),
        (1, "decode", 1),
        (1, "result", 1),
    ]


@pytest.mark.parametrize(
    ("cursor", "conditioning", "denoise", "decode"),
    [
        (Cursor(), 3, 15, 3),
        (Cursor(0, Stage.DENOISE), 2, 15, 3),
        (Cursor(0, Stage.DENOISE, 2), 2, 11, 3),
        (Cursor(0, Stage.DECODE, 2), 2, 10, 3),
        (Cursor(1), 2, 10, 2),
        (Cursor(2, Stage.DENOISE, 1), 0, 3, 1),
        (Cursor(2, Stage.DECODE, 2), 0, 0, 1),
    ],
)
def test_what_remains_of_three_segments_of_three_steps(
    cursor: Cursor, conditioning: int, denoise: int, decode: int
) -> None:
    """Guidance makes the first two steps two passes each."""
    assert cursor.remaining(segments=3, passes=[2, 2, 1]) == {
        Stage.CONDITIONING: conditioning,
        Stage.DENOISE: denoise,
        Stage.DECODE: decode,
        Stage.RESULT: 1,
    }


def test_forecasts_take_every_stage_as_it_was_measured() -> None:
    remaining = {Stage.CONDITIONING: 1, Stage.DENOISE: 4, Stage.DECODE: 2}
    seconds = {Stage.CONDITIONING: 3.0}
    assert forecast({}, remaining) is None
    assert forecast(seconds, remaining) is None
    seconds[Stage.DENOISE] = 10.0
    assert forecast(seconds, remaining) == 3 + 4 * 10 + 2 * 3  # decoding like conditioning
    seconds[Stage.DECODE] = 7.0
    assert forecast(seconds, remaining) == 3 + 4 * 10 + 2 * 7


def test_times_count_passes_not_steps() -> None:
    times = StageTimes()
    times.record(Stage.DENOISE, 2.0, passes=2)
    times.record(Stage.DENOISE, 1.0, passes=1)
    assert times.estimate({Stage.DENOISE: 4}) == pytest.approx(4 * 1.0)
    assert times.usage[Stage.DENOISE].runs == 2
    assert times.usage[Stage.DENOISE].resident_nbytes > 1 << 20


def test_resident_memory_follows_what_is_touched() -> None:
    before = resident_nbytes()
    touched = np.ones(64 << 20, np.uint8)
    assert resident_nbytes() - before > 48 << 20
    assert touched[-1] == 1
