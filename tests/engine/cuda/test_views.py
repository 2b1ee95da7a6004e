"""Views of device tensors: where their bytes lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wan_trt.engine.cuda.device_tensor import DeviceTensor, Rows


def test_a_view_knows_its_rows() -> None:
    condition = DeviceTensor(0x1000, (20, 6, 4, 8), "float32")  # a latent is 4 * 8 * 4 = 128 bytes
    video = condition[4:, 1:]
    assert video.shape == (16, 5, 4, 8)
    assert video.address == 0x1000 + 4 * 6 * 128 + 128
    assert video.rows == Rows(16, 5 * 128, 6 * 128)
    assert video[:, 2].rows == Rows(16, 128, 6 * 128)
    assert video[3].rows == Rows(1, 5 * 128, 5 * 128)
    assert video[3].contiguous
    assert not video.contiguous


def test_the_timestep_lies_at_the_beginning_of_its_block() -> None:
    block = DeviceTensor(0x2000, (64,), "int64")
    assert block[:1] == DeviceTensor(0x2000, (1,), "int64")


def test_gaps_in_two_dimensions_are_not_copied() -> None:
    tensor = DeviceTensor(0, (4, 4, 4), "float32")
    with pytest.raises(ValueError, match="more than one dimension"):
        _ = tensor[:, :2, :2].rows


@pytest.mark.parametrize("key", [4, -5, (0, 0, 0, 0)])
def test_what_lies_outside_is_refused(key: int | tuple[int, ...]) -> None:
    with pytest.raises(IndexError):
        DeviceTensor(0, (4, 4, 4), "float32")[key]


def test_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="every 2th"):
        DeviceTensor(0, (4,), "float32")[::2]


KEYS = st.one_of(
    st.integers(-2, 1),
    st.builds(slice, st.integers(-3, 3), st.one_of(st.none(), st.integers(-3, 3))),
)


@given(
    shape=st.lists(st.integers(2, 4), min_size=1, max_size=4).map(tuple),
    keys=st.lists(KEYS, max_size=2).map(tuple),
)
def test_views_are_numpys(shape: tuple[int, ...], keys: tuple[int | slice, ...]) -> None:
    array: NDArray[np.int16] = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    start = array.ctypes.data
    view = DeviceTensor(start, shape, "int16")[keys[: len(shape)]]
    same = array[keys[: len(shape)]]
    assert view.shape == np.shape(same)
    assert view.nbytes == np.asarray(same).nbytes
    if not view.elements or isinstance(same, np.int16):
        return
    assert view.address == same.ctypes.data
    assert view.strides == same.strides
    try:
        rows = view.rows
    except ValueError:
        return
    assert rows.count * rows.nbytes == view.nbytes
    flat = array.reshape(-1).view(np.uint8)
    first = view.address - start
    parts = [flat[first + i * rows.pitch :][: rows.nbytes] for i in range(rows.count)]
    np.testing.assert_array_equal(np.concatenate(parts).view(np.int16), same.reshape(-1))
