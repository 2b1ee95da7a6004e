"""Which frames SAM2 compares a frame with."""

from __future__ import annotations

import numpy as np

from wan_trt.preprocess.networks.sam2_memory import FrameMemory, Sam2Memory

TEMPORAL = np.arange(1, 8, dtype=np.float32).reshape(7, 1, 1, 1) * 1000


def memory(frame: int) -> FrameMemory:
    """Of one cell and one channel, all numbers telling the frame."""
    value = np.float32(frame)
    return FrameMemory(
        np.full((1, 1, 1, 1), value), np.full((1, 1, 1), value), TEMPORAL, np.full((1, 4), value)
    )


def test_prompted_frames_and_the_six_before() -> None:
    memories = Sam2Memory({0: memory(0), 50: memory(50)})
    for frame in range(1, 30):
        memories.add(frame, memory(frame))
    given = memories.inputs_for(30)
    assert given["memory_1"].ravel().tolist() == [0, 50, 24, 25, 26, 27, 28, 29]
    # Prompted ones are marked as oldest, whenever they are; the others by their age.
    ages = given["memory_pos_embed"][:8].ravel() - given["memory_1"].ravel()
    assert ages.tolist() == [7000, 7000, 6000, 5000, 4000, 3000, 2000, 1000]


def test_pointers_of_prompted_frames_in_the_past_and_the_last_fifteen() -> None:
    memories = Sam2Memory({0: memory(0), 50: memory(50)})
    for frame in range(1, 30):
        memories.add(frame, memory(frame))
    given = memories.inputs_for(30)
    assert given["memory_0"][:, 0].tolist() == [0, *range(29, 14, -1)]
    assert given["memory_0"].shape == (16, 4)
    assert given["memory_pos_embed"].shape == (8 + 4 * 16, 1, 1)
    assert not given["memory_pos_embed"][8:].any()


def test_the_second_frame() -> None:
    given = Sam2Memory({0: memory(0)}).inputs_for(1)
    assert given["memory_1"].shape == (1, 1, 1, 1)
    assert given["memory_0"].shape == (1, 4)
