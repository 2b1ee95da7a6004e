"""Adapters in torch pickles (.ckpt, .pt, .pth, .bin): tensors only, nothing in them may run."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from wan_trt.export.lora.container import ContainerError
from wan_trt.export.lora.faults import Fault

SUFFIXES = frozenset({".ckpt", ".pt", ".pth", ".bin"})


def looks_pickled(start: bytes) -> bool:
    """Whether a file that begins like this is a zip archive or a bare pickle.

    A safetensors file may begin with the same bytes, since they are the length of its header:
    its ninth byte is the brace that opens the header, and that decides.
    """
    if start[8:9] == b"{":
        return False
    return start[:2] == b"PK" or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05")


def read_tensors(path: Path) -> Mapping[str, torch.Tensor]:
    """The tensors of {"state_dict": {..}} or of a flat {NAME: tensor}, mapped where possible.

    Raises ContainerError (unsafe_pickle) for a pickle that does anything but hold tensors: it is
    read with a restricted unpickler that calls no function from the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of old formats
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
    except pickle.UnpicklingError as error:
        # torch's own message tells how to run the file all the same.
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it calls {found[1]}" if found else "it cannot be read as tensors only"
        raise ContainerError(
            Fault.UNSAFE_PICKLE, f"it is a pickle of more than tensors: {what}"
        ) from None
    except Exception as error:  # torch raises many kinds for a damaged archive
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ContainerError(Fault.BAD_CONTAINER, f"it is a damaged pickle: {reason}") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise ContainerError(Fault.UNSAFE_PICKLE, "it holds no table of tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not torch.is_tensor(value):
            raise ContainerError(Fault.UNSAFE_PICKLE, f"its entry {name!r} is no tensor", str(name))
    return content
