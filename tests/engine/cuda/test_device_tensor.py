"""Values get to the device and back through pinned slots."""

from __future__ import annotations

import numpy as np
import pytest
from device_side import DeviceSide
from fake_cuda import FakeCuda

from wan_trt.engine.cuda.device_tensor import DeviceTensor, Staging
from wan_trt.engine.cuda.driver import Device


@pytest.mark.parametrize("elements", [0, 1, 16, 17, 1000])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_values_come_back(side: DeviceSide, elements: int, dtype: str) -> None:
    """Slots of 64 bytes: most tensors take several, more than there are."""
    staging = Staging(side.device, slot_nbytes=64, slots=3)
    values = np.random.default_rng(elements).integers(0, 200, (elements,)).astype(dtype)
    tensor = side.empty(elements, dtype=dtype)
    assert tensor.nbytes == values.nbytes
    staging.upload(values, tensor, side.stream)
    np.testing.assert_array_equal(staging.download(tensor, side.stream), values)
    staging.close()


def test_an_array_may_change_after_its_upload(side: DeviceSide) -> None:
    tensors = [side.empty(4) for _ in range(10)]
    staging = Staging(side.device, slot_nbytes=16, slots=2)
    values = np.zeros(4, np.float32)
    for i, tensor in enumerate(tensors):
        values[:] = i
        staging.upload(values, tensor, side.stream)
    assert [float(side.get(tensor)[0]) for tensor in tensors] == list(range(10))
    staging.close()


def test_the_host_waits_only_for_a_slot(fake: FakeCuda) -> None:
    device = Device(bindings=fake)
    stream = device.new_stream()
    staging = Staging(device, slot_nbytes=16, slots=2)
    tensor = DeviceTensor(device.allocate(16), (4,), "float32")
    for _ in range(2):
        staging.upload(np.ones(4, np.float32), tensor, stream)
    assert "cuStreamSynchronize" not in fake.calls
    assert fake.pending(stream) == 4, "two copies and two records, none of them done"
    staging.upload(np.ones(4, np.float32), tensor, stream)
    assert fake.pending(stream) == 4, "the third had to wait for the first"


def test_other_shapes_and_dtypes_are_refused(side: DeviceSide) -> None:
    staging = Staging(side.device)
    for values in (np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float64)):
        with pytest.raises(ValueError, match=r"does not fit a tensor of float32 \(3, 2\)"):
            staging.upload(values, side.empty(3, 2), side.stream)
    staging.close()
