"""The model that `fold` reads: one safetensors file of any spelling, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.layouts.recognise import dits_among
from wan_trt.export.layouts.renamed import RenamedTensors, shown
from wan_trt.export.lora.container import DTYPES, FLOATING, Container, ContainerError, Entry
from wan_trt.export.lora.finite import is_finite
from wan_trt.export.tensors import TensorSource

# Quantised weights mean something only together with their scales.
_FOLDABLE = frozenset({"F64", "F32", "F16", "BF16"})


class BaseFile:
    """A TensorSource of the stored names that also gives out the stored bytes.

    `table` says what of them the DiT is made of. Raises CheckpointError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise CheckpointError(
                f"{path} is a folder",
                expected="one safetensors file: a DiT, or one expert of it",
                action="name the file; `wan-trt export` takes folders",
            )
        try:
            self._container = Container.open(path)
        except (ContainerError, OSError) as error:
            raise CheckpointError(
                f"{path} cannot be read ({error})",
                expected="a complete safetensors file",
                action="check the path, or fetch it again",
            ) from None
        tables = dits_among(self._container.entries)
        if len(tables) != 1:
            held = shown(list(self._container.entries), most=3) or "nothing"
            raise CheckpointError(
                f"{path} holds {f'{len(tables)} DiTs' if tables else held}",
                expected="one Wan DiT with original names (blocks.0.self_attn.q.weight, ..) or "
                "those of diffusers (blocks.0.attn1.to_q.weight, patch_embedding.weight, ..)",
                action="name the DiT's own file",
            )
        self.table = tables[0]

    def dit(self) -> TensorSource:
        """The DiT's tensors under original names, in float32."""
        return RenamedTensors(self, self.table, str(self.path))

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self._container.metadata)

    @property
    def entries(self) -> dict[str, Entry]:
        return dict(self._container.entries)

    def names(self) -> Iterable[str]:
        return self._container.entries.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._container.entries[name].shape

    def raw(self, name: str) -> bytearray:
        """The stored bytes, after a look for NaN and infinity."""
        content = self._raw(name)
        entry = self._container.entries[name]
        if entry.dtype in FLOATING and content:
            dtype = DTYPES[entry.dtype][1]
            assert dtype is not None
            tensor = torch.frombuffer(content, dtype=dtype)
            self._require_finite(name, tensor if tensor.element_size() > 1 else tensor.float())
        return content

    def read(self, name: str, rows: slice | None = None) -> torch.Tensor:
        """Float32, in memory of its own."""
        dtype = self._container.entries[name].dtype
        if dtype not in _FOLDABLE:
            raise CheckpointError(
                f"{name} of {self.path} has dtype {dtype}",
                expected=f"{', '.join(sorted(_FOLDABLE))} where a LoRA changes it",
                action="fold into the weights from before quantisation",
            )
        tensor = self._container.tensor(name, self._raw(name)).to(torch.float32)
        self._require_finite(name, tensor)
        return tensor if rows is None else tensor[rows].clone()

    def _raw(self, name: str) -> bytearray:
        try:
            return self._container.raw(name)
        except (ContainerError, OSError) as error:
            raise CheckpointError(
                f"{self.path} cannot be read ({error})", action="fetch it again"
            ) from None

    def _require_finite(self, name: str, tensor: torch.Tensor) -> None:
        if not is_finite(tensor):
            raise CheckpointError(
                f"{name} of {self.path} contains NaN or infinity",
                expected="finite weights",
                action="fetch it again",
            )
