"""Safetensors files, one or many shards, as one lazy source."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from wan_trt.engine.errors import CheckpointError


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
                raise _unreadable(file, error) from None

    def names(self) -> Iterable[str]:
        return self._home.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        self._require(name)
        return self._shapes[name]

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        self._require(name)
        file = self._home[name]
        try:
            with safe_open(file, framework="pt") as handle:
                whole = rows is None
                tensor: torch.Tensor = (
                    handle.get_tensor(name) if whole else handle.get_slice(name)[rows]
                )
        except (SafetensorError, OSError) as error:
            raise _unreadable(file, error) from None
        return tensor.to(torch.float32)

    def _require(self, name: str) -> None:
        if name not in self._home:
            raise CheckpointError(
                f"the checkpoint has no tensor {name}",
                expected="a complete DiT with original names",
                action="fetch the missing shard",
            )


def _unreadable(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{file} cannot be read ({error})",
        expected="a complete safetensors file",
        action="fetch it again",
    )
