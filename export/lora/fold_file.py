"""Folds adapters into a safetensors file: reads, changes and writes one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import ExpertName
from wan_trt.export.layouts.correspondence import Correspondence, NameTable
from wan_trt.export.lora.base_file import BaseFile
from wan_trt.export.lora.container import DTYPES
from wan_trt.export.lora.fold import FoldedTensors, read_files, read_stacks
from wan_trt.export.lora.match import LoraFile
from wan_trt.export.lora.report import report
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.tensors import TensorSource
from wan_trt.media.disk_space import require_space
from wan_trt.media.partial_output import FIELD, try_place, whole_file

OUTPUT_DTYPES = {"fp32": "F32", "bf16": "BF16"}
METADATA_KEY = "wan_trt.fold"


@dataclass(frozen=True)
class FoldOptions:
    """`expert` None: the model has one DiT. `dtype` is that of the tensors that change."""

    expert: ExpertName | None = None
    dtype: str = "fp32"
    allow_unmatched: bool = False


def fold_file(
    base: Path,
    out: Path,
    stacks: LoraStacks,
    options: FoldOptions | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, Any]:
    """Write `base` with the adapters folded in to `out`, and return the report.

    Tensors keep the names that `base` gives them, original or diffusers'; those that no adapter
    changes are copied byte for byte. `out` appears, or is replaced, only
    when it is complete. `on_progress` gets bytes written and bytes in all.
    Raises CheckpointError, LoraError, InputError (output) or ResourceError (disk).
    """
    options = options or FoldOptions()
    stored = BaseFile(base)
    require_output(out, base, stacks)
    model = stored.dit()
    files = _read(stacks, model, options)
    folded = FoldedTensors(model, files)
    changed = _changed(stored.table, folded)
    layout = _layout(stored, changed, options, files)
    require_space(out, layout.nbytes)
    with whole_file(out) as path, path.open("xb") as file:
        file.write(layout.header)
        done = len(layout.header)
        for name, dtype in layout.order:
            if row := changed.get(name):
                tensor = row.split(folded.read(row.original))[name].to(dtype).contiguous()
                done += file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
            else:
                done += file.write(stored.raw(name))
            on_progress(done, layout.nbytes)
    assert done == layout.nbytes, "the header states the size of what was written"
    return {
        "base": base.name,
        "expert": options.expert.value if options.expert else "single",
        "dtype": options.dtype,
        "allow_unmatched": options.allow_unmatched,
        "tensors": len(layout.order),
        "changed": len(changed),
        "files": [report(file, norms) for file, norms in zip(files, folded.norms, strict=True)],
    }


@dataclass(frozen=True)
class _Layout:
    """The output before it is written. `order`: names, and the type of those that change."""

    header: bytes
    order: tuple[tuple[str, torch.dtype | None], ...]
    nbytes: int


def _changed(table: NameTable, folded: FoldedTensors) -> dict[str, Correspondence]:
    """The file's tensors that change, and what each is a part of. Where a half of an original
    tensor changes and the file has the halves apart, the other one is left as it is."""
    return {
        part: row
        for row in table
        for fold in folded.folds(row.original)
        for change in fold.changes
        for half, part in enumerate(row.parts)
        if len(row.parts) == 1 or change.half in (None, half)
    }


def _layout(
    stored: BaseFile,
    changed: Container[str],
    options: FoldOptions,
    files: tuple[LoraFile, ...],
) -> _Layout:
    entries = stored.entries
    dtypes = {
        name: OUTPUT_DTYPES[options.dtype] if name in changed else entry.dtype
        for name, entry in entries.items()
    }
    # The widest types first, so that every tensor is aligned to its elements.
    order = sorted(entries, key=lambda name: (-DTYPES[dtypes[name]][0], entries[name].begin))
    made = {
        "files": [
            {"file": file.path, "sha256": file.sha256, "strength": file.strength} for file in files
        ],
        "expert": options.expert.value if options.expert else "single",
    }
    header: dict[str, Any] = {
        "__metadata__": {"format": "pt"} | stored.metadata | {METADATA_KEY: json.dumps(made)}
    }
    position = 0
    for name in order:
        entry = entries[name]
        count = torch.Size(entry.shape).numel()
        nbytes = count * DTYPES[dtypes[name]][0] // 8
        header[name] = {
            "dtype": dtypes[name],
            "shape": list(entry.shape),
            "data_offsets": [position, position + nbytes],
        }
        position += nbytes
    packed = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    packed += b" " * (-len(packed) % 8)
    packed = len(packed).to_bytes(8, "little") + packed
    return _Layout(
        header=packed,
        order=tuple((name, DTYPES[dtypes[name]][1]) for name in order),
        nbytes=len(packed) + position,
    )


def _read(stacks: LoraStacks, model: TensorSource, options: FoldOptions) -> tuple[LoraFile, ...]:
    """Raises InputError when the stacks are for experts that the model does not have."""
    expert = options.expert
    if expert is not None:
        models = {expert: model}
        return read_stacks(stacks, models, allow_unmatched=options.allow_unmatched)[expert]
    if stacks.high or stacks.low:
        raise InputError(
            "--lora-high and --lora-low name LoRAs of two experts, and the base is a single one",
            expected="--expert high or --expert low beside them",
            action="say which expert the base is, or use --lora",
            field="--expert",
        )
    return read_files(stacks.both, model, allow_unmatched=options.allow_unmatched)


def require_output(target: Path, base: Path, stacks: LoraStacks, field: str = FIELD) -> None:
    """Raises MediaError or ResourceError where no file `target` can be made, and InputError where
    it would overwrite what is read; `field` names it."""
    loras = (*stacks.both, *stacks.high, *stacks.low)
    sources = [base, *(spec.path for spec in loras)]
    if target.exists() and any(path.exists() and target.samefile(path) for path in sources):
        raise InputError(
            f"{target} is one of the files that are read",
            expected="another file",
            action="choose another name",
            field=field,
        )
    try_place(target, field)
