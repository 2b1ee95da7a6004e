"""Files of tensors as lazy sources: safetensors, one or many shards, and torch's .pth."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.tensors import MemoryTensors


class ShardedTensors:
    """Safetensors files as one source; tensors are read from disk when asked for."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._home: dict[str, Path] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for file in files:
            try:
                with safe_open(file, framework="pt") as handle:
                    for name in handle.keys():  # noqa: SIM118 (not a mapping)
                        if name in self._home:
                            raise CheckpointError(
                                f"{name} is in {self._home[name].name} and in {file.name}",
                                expected="every tensor once",
                                action="remove the files of the other checkpoint",
                            )
                        self._home[name] = file
                        self._shapes[name] = tuple(handle.get_slice(name).get_shape())
            except (SafetensorError, OSError) as error:
                raise CheckpointError(
                    f"{file} cannot be read ({error})",
                    expected="a complete safetensors file",
                    action="fetch it again",
                ) from None

    def names(self) -> Iterable[str]:
        return self._home.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        self._require(name)
        return self._shapes[name]

    def read(self, name: str) -> torch.Tensor:
        self._require(name)
        with safe_open(self._home[name], framework="pt") as handle:
            tensor: torch.Tensor = handle.get_tensor(name)
        return tensor.to(torch.float32)

    def _require(self, name: str) -> None:
        if name not in self._home:
            raise CheckpointError(
                f"the checkpoint has no tensor {name}",
                expected="a complete DiT with original names",
                action="fetch the missing shard",
            )


class PickledTensors(MemoryTensors):
    """A flat state dict in a .pth file, mapped into memory and unpickled with weights_only."""

    def __init__(self, file: Path) -> None:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
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
        super().__init__(state)
        self._file = file

    def shape(self, name: str) -> tuple[int, ...]:
        self._require(name)
        return super().shape(name)

    def read(self, name: str) -> torch.Tensor:
        self._require(name)
        return super().read(name)

    def _require(self, name: str) -> None:
        if name not in self._tensors:
            raise CheckpointError(
                f"{self._file} has no tensor {name}",
                expected="the file of the official repository",
                action="fetch it again",
            )
