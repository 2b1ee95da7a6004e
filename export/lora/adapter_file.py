"""One adapter on disk: a safetensors file, a folder saved by PEFT, or a torch pickle.

Opening checks the container and reads names, shapes and types; tensors are read when needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch

from wan_trt.engine.bundle import sha256_file
from wan_trt.engine.errors import LoraError
from wan_trt.export.lora import pickles
from wan_trt.export.lora.adapter_config import AdapterConfig, parse_json, parse_metadata
from wan_trt.export.lora.container import FLOATING, Container, ContainerError
from wan_trt.export.lora.faults import Fault
from wan_trt.export.lora.finite import is_finite

CONFIG_NAME = "adapter_config.json"
# What a folder may hold, in the order of preference: PEFT, older PEFT, diffusers.
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "pytorch_lora_weights.safetensors")
_FOREIGN = {
    b"version https://git-lfs": "a git-lfs pointer, not the file itself",
    b"<": "a web page, not the file itself",
}


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """Names, shapes and types of an adapter's tensors, and what its trainer wrote about them."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    floating: Mapping[str, bool]
    metadata: Mapping[str, str]
    config: AdapterConfig | None
    config_path: Path | None
    components: Mapping[str, AdapterConfig]
    _stored: Container | Mapping[str, torch.Tensor] = field(repr=False)
    _checked: set[str] = field(default_factory=set, repr=False)

    @staticmethod
    def open(path: Path, config: Path | None = None) -> AdapterFile:
        """`config` is an adapter_config.json; without it, one that PEFT saved beside the weights
        is taken. Raises LoraError."""
        weights = _weights(path)
        if config is None and weights.name.startswith("adapter_model."):
            beside = weights.with_name(CONFIG_NAME)
            config = beside if beside.is_file() else None
        try:
            stored = _open(weights)
        except ContainerError as error:
            raise _unreadable(weights, str(error), error) from None
        except OSError as error:
            raise _unreadable(weights, error.strerror or str(error)) from None
        if isinstance(stored, Container):
            shapes = {name: entry.shape for name, entry in stored.entries.items()}
            floating = {name: e.dtype in FLOATING for name, e in stored.entries.items()}
            metadata = stored.metadata
        else:
            shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
            floating = {name: tensor.is_floating_point() for name, tensor in stored.items()}
            metadata = {}
        if not shapes:
            raise LoraError(
                f"{weights} holds no tensors",
                kind=Fault.NO_TENSORS,
                expected="a LoRA",
                action="fetch it again",
            )
        return AdapterFile(
            path=weights,
            shapes=shapes,
            floating=floating,
            metadata=metadata,
            config=None if config is None else parse_json(_text(config), str(config)),
            config_path=config,
            components=parse_metadata(metadata, str(weights)),
            _stored=stored,
        )

    @cached_property
    def sha256(self) -> str:
        """Of the file that holds the tensors."""
        return sha256_file(self.path)

    def read(self, key: str) -> torch.Tensor:
        """One tensor as float32, in memory of its own. Raises LoraError for NaN, infinity and
        types that cannot be read."""
        try:
            if isinstance(self._stored, Container):
                tensor = self._stored.tensor(key)
            else:
                tensor = self._stored[key].clone()
        except ContainerError as error:
            raise _unreadable(self.path, str(error), error) from None
        except OSError as error:
            raise _unreadable(self.path, error.strerror or str(error)) from None
        tensor = tensor.to(torch.float32)
        if key not in self._checked and not is_finite(tensor):
            raise LoraError(
                f"{self.path}: {key} contains NaN or infinity",
                kind=Fault.NON_FINITE,
                keys=(key,),
                expected="finite numbers",
                action="fetch the LoRA again; training may have diverged",
            )
        return tensor

    def check(self, key: str) -> None:
        """Raises LoraError unless the tensor can be read and is finite; reads it once only."""
        if key not in self._checked:
            self.read(key)
            self._checked.add(key)


@dataclass(frozen=True)
class Factor:
    """A tensor of an adapter that is read when it is needed."""

    file: AdapterFile = field(repr=False)
    key: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.file.shapes[self.key]

    def read(self) -> torch.Tensor:
        """As float32 of `shape`, in memory of its own."""
        return self.file.read(self.key)


def _weights(path: Path) -> Path:
    """The file that holds the tensors: `path` itself, or the one in the folder `path`."""
    if not path.is_dir():
        return path
    for name in _WEIGHTS:
        if (path / name).is_file():
            return path / name
    raise LoraError(
        f"the folder {path} holds no weights",
        kind=Fault.NO_TENSORS,
        expected=f"one of {', '.join(_WEIGHTS)}",
        action="name the file itself",
    )


def _open(path: Path) -> Container | Mapping[str, torch.Tensor]:
    with path.open("rb") as file:
        start = file.read(64)
    if pickles.looks_pickled(start):
        if path.suffix.lower() not in pickles.SUFFIXES:
            raise ContainerError(Fault.UNSAFE_PICKLE, f"it is a pickle named {path.suffix}")
        return pickles.read_tensors(path)
    for magic, what in _FOREIGN.items():
        if start.lstrip().startswith(magic) and start[8:9] != b"{":
            raise ContainerError(Fault.BAD_CONTAINER, f"it is {what}")
    return Container.open(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoraError(
            f"{path} cannot be read ({error})",
            kind=Fault.BAD_CONFIG,
            expected="the adapter_config.json of the LoRA",
            action="check the path",
        ) from None


def _unreadable(path: Path, why: str, error: ContainerError | None = None) -> LoraError:
    return LoraError(
        f"{path} cannot be read ({why})",
        kind=error.kind if error else Fault.BAD_CONTAINER,
        keys=(error.key,) if error and error.key else (),
        expected="a LoRA in a safetensors file, a PEFT folder or a pickle of tensors",
        action="check the path, or fetch it again",
    )
