"""What a weights file holds, without reading its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.pickled_tensors import PickledTensors

SAFETENSORS = ".safetensors"
PICKLES = (".pth", ".pt", ".ckpt")


@dataclass(frozen=True)
class Header:
    """`dtype` as safetensors spells it, "BF16"; "" in a pickle, where it decides nothing."""

    shape: tuple[int, ...]
    dtype: str = ""


def read_headers(file: Path) -> Mapping[str, Header]:
    """Names of the file's tensors. A pickle is unpickled without code and without data.

    Raises CheckpointError for a damaged file and for a pickle that is no flat state dict.
    """
    if file.suffix != SAFETENSORS:
        pickled = PickledTensors(file)
        return {name: Header(pickled.shape(name)) for name in pickled.names()}
    try:
        with safe_open(file, framework="pt") as handle:
            slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
            return {n: Header(tuple(s.get_shape()), s.get_dtype()) for n, s in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({error})",
            expected="a complete safetensors file",
            action="fetch it again, or move it away if it does not belong to the checkpoint",
        ) from None
