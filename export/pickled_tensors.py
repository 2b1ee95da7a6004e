"""torch's .pth files as lazy sources."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from wan_trt.engine.errors import CheckpointError


@dataclass(frozen=True)
class _Place:
    """Where a tensor's first element lies in the file, and how its elements follow."""

    begin: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    def rows(self, rows: slice) -> _Place:
        first, end, _ = rows.indices(self.shape[0])
        begin = self.begin + first * self.strides[0] * self.dtype.itemsize
        return _Place(begin, (end - first, *self.shape[1:]), self.strides, self.dtype)

    @property
    def elements(self) -> int:
        """From the first to the last, those between them included."""
        steps = ((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        return 1 + sum(steps) if math.prod(self.shape) else 0


class PickledTensors:
    """A flat state dict that torch saved, unpickled with weights_only and without its data.

    Data are read from the file, not mapped: what was read does not stay in this process.
    """

    def __init__(self, file: Path) -> None:
        """Raises CheckpointError for a damaged or hostile file and for other things in it."""
        try:
            with FakeTensorMode():
                state = torch.load(file, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            raise CheckpointError(
                f"{file} is missing", action="fetch it from the model's repository"
            ) from None
        except Exception as error:  # torch raises many kinds for a damaged or hostile pickle
            raise CheckpointError(
                f"{file} cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})",
                expected="a state dict saved by torch, tensors only",
                action="fetch it again",
            ) from None
        if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
            raise CheckpointError(f"{file} is no flat state dict", action="fetch it again")
        self._file = file
        self._places = {name: self._place(name, tensor) for name, tensor in state.items()}

    def _place(self, name: str, tensor: torch.Tensor) -> _Place:
        # torch notes it for tensors that it loads without data (torch.serialization).
        begin = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
        if begin is None:
            raise CheckpointError(
                f"{self._file} is in torch's old format ({name} has no place of its own)",
                expected="a file that torch.save wrote since version 1.6",
                action="load it with torch and save it again",
            )
        if not tensor.is_floating_point():
            raise CheckpointError(
                f"{self._file}: {name} is {str(tensor.dtype).removeprefix('torch.')}",
                expected="weights in a floating-point type",
                action="use the checkpoint in its original precision",
            )
        return _Place(
            begin + tensor.storage_offset() * tensor.itemsize,
            tuple(tensor.shape),
            tensor.stride(),
            tensor.dtype,
        )

    def names(self) -> Iterable[str]:
        return self._places.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._require(name).shape

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        place = self._require(name)
        if rows is not None:
            place = place.rows(rows)
        data = torch.empty(place.elements, dtype=place.dtype)
        content = data.view(torch.uint8).numpy()
        with self._file.open("rb", buffering=0) as file:
            file.seek(place.begin)
            position = 0
            while position < content.nbytes:  # one call reads at most 2 GiB
                count = file.readinto(content[position:].data)
                if not count:
                    raise CheckpointError(
                        f"{self._file} became shorter while it was read", action="fetch it again"
                    )
                position += count
        return data.as_strided(place.shape, place.strides).to(torch.float32)

    def _require(self, name: str) -> _Place:
        if name not in self._places:
            raise CheckpointError(
                f"{self._file} has no tensor {name}",
                expected="the file of the official repository",
                action="fetch it again",
            )
        return self._places[name]
