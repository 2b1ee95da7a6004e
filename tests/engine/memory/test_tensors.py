"""Tensors in pages of an arena, on a host, a made-up driver and a GPU: values, places, parking."""

from __future__ import annotations

import numpy as np
import pytest
from memory_places import Place
from numpy.typing import NDArray

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.executor import TensorSpec
from wan_trt.engine.memory.layout import ALIGNMENT, Layout, TensorShape, shapes_of
from wan_trt.engine.memory.parking import Parking
from wan_trt.engine.memory.tensors import TensorMemory

CONDITION = Layout({"condition": TensorShape((20, 5, 3, 4)), "latents": TensorShape((16, 5, 3, 4))})


def values(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_a_layout_is_the_sum_of_its_tensors() -> None:
    specs = (TensorSpec("tokens", "float32", ("rows", 3)), TensorSpec("ids", "int64", (40,)))
    layout = Layout(shapes_of(specs, {"rows": 2}))
    assert layout.offsets == {"tokens": 0, "ids": ALIGNMENT}
    assert layout.nbytes == ALIGNMENT + 2 * ALIGNMENT  # 24 bytes, and 320


def test_values_come_back(memory: TensorMemory) -> None:
    space = memory.space
    with memory.hold("job", "job-7", CONDITION) as holding:
        latents = holding.tensors["latents"]
        given = values(16, 5, 3, 4)
        space.write(latents, given)
        given[:] = 0  # it has been taken over
        np.testing.assert_array_equal(space.read(latents), values(16, 5, 3, 4))
        assert latents.shape == (16, 5, 3, 4)
        assert latents.dtype == "float32"


def test_parts_of_a_tensor_are_written_copied_and_read(memory: TensorMemory) -> None:
    """What the stages do: a mask into the first channels, latents behind it one by one."""
    space = memory.space
    expected = values(20, 5, 3, 4)
    with memory.hold("job", "job-7", CONDITION) as holding:
        condition, latents = holding.tensors["condition"], holding.tensors["latents"]
        space.write(condition, expected)
        space.write(latents, values(16, 5, 3, 4, seed=1))
        space.write(condition[:4, 1:], np.ones((4, 4, 3, 4), np.float32))
        for index in range(1, 5):
            space.copy(condition[4:, index], latents[:, index])
        space.copy(latents[:, :1], condition[4:, :1])
        expected[:4, 1:] = 1
        expected[4:, 1:] = values(16, 5, 3, 4, seed=1)[:, 1:]
        np.testing.assert_array_equal(space.read(condition), expected)
        np.testing.assert_array_equal(space.read(condition[4:, 2:4]), expected[4:, 2:4])
        np.testing.assert_array_equal(space.read(latents[:, 0]), expected[4:, 0])


def test_numbers_of_the_same_kind_are_converted_others_are_not(memory: TensorMemory) -> None:
    with memory.hold("job", "job-7", CONDITION) as holding:
        latents = holding.tensors["latents"]
        memory.space.write(latents, values(16, 5, 3, 4).astype(np.float64))
        with pytest.raises(TypeError):
            memory.space.write(latents[0], np.zeros((5, 3, 4), np.complex64))
        with pytest.raises(ValueError, match=r"(does|do) not fit"):
            memory.space.write(latents, np.zeros((1, 5, 3, 4), np.float32))
        with pytest.raises(ValueError, match=r"(does|do) not fit"):
            memory.space.copy(latents[:4], holding.tensors["condition"])


def test_what_is_held_anew_lies_where_it_lay_before(memory: TensorMemory) -> None:
    small, large = CONDITION, Layout({"x": TensorShape((memory.arena.page_nbytes,), "uint8")})
    seen = set()
    for layout in (small, large, small, large):
        with memory.hold("job", "job-7", layout) as holding:
            seen.add(holding.address)
            with memory.hold("job", "job-8", layout) as beside:
                assert beside.address != holding.address
    assert len(seen) == 1


def test_a_larger_one_takes_the_place_of_a_smaller_one(memory: TensorMemory) -> None:
    for pages in (1, 2, 3, 2):
        layout = Layout({"x": TensorShape((pages * memory.arena.page_nbytes,), "uint8")})
        with memory.hold("clip", "encoder", layout):
            assert memory.arena.usage.free == 8 - pages
        assert memory.arena.usage.free == 8


def test_more_than_there_is_is_refused_and_nothing_is_held(memory: TensorMemory) -> None:
    layout = Layout({"x": TensorShape((9 * memory.arena.page_nbytes,), "uint8")})
    for _ in range(2):
        with pytest.raises(ResourceError, match="job-7 wants 9 pages"):
            memory.hold("job", "job-7", layout)
    assert memory.arena.usage.held == {}


def test_parked_tensors_come_back_as_they_were(memory: TensorMemory, place: Place) -> None:
    """Their pages serve others meanwhile."""
    parking = Parking(memory.arena, place.store(1 << 16), 64 << 20)
    space = memory.space
    whole = Layout({"x": TensorShape((8 * memory.arena.page_nbytes,), "uint8")})
    holding = memory.hold("job", "job-7", CONDITION)
    address = holding.address
    space.write(holding.tensors["latents"], values(16, 5, 3, 4))
    holding.park(parking)
    with memory.hold("clip", "encoder", whole) as other:
        space.write(other.tensors["x"], np.full(other.tensors["x"].shape, 7, np.uint8))
        with pytest.raises(ResourceError):
            holding.bring_back()
    holding.bring_back()
    assert holding.address == address
    np.testing.assert_array_equal(space.read(holding.tensors["latents"]), values(16, 5, 3, 4))
    holding.close()
    parking.check()
    parking.close()


def test_what_is_parked_can_be_given_up(memory: TensorMemory, place: Place) -> None:
    parking = Parking(memory.arena, place.store(1 << 16), 64 << 20)
    before = parking.free_nbytes
    holding = memory.hold("job", "job-7", CONDITION)
    holding.park(parking)
    assert parking.free_nbytes < before
    holding.close()
    holding.close()
    assert parking.free_nbytes == before
    with memory.hold("job", "job-8", CONDITION) as other:
        assert other.address == holding.address
    parking.close()
