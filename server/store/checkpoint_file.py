"""A checkpoint's arrays as a safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file, save

from wan_trt.engine.checkpoint import Checkpoint
from wan_trt.server.store.job_folder import JobFolder
from wan_trt.server.store.room import Room
from wan_trt.server.store.store import CheckpointRow


def write_checkpoint(
    folder: JobFolder, before: CheckpointRow | None, checkpoint: Checkpoint, room: Room
) -> CheckpointRow:
    """Write what does not go into the row, not over the file of the row `before`, which counts
    until the new one does. Raises StorageFullError."""
    tensors = dict(checkpoint.tensors)
    if not tensors:
        return CheckpointRow(checkpoint.cursor, None)
    room.require(sum(tensor.nbytes for tensor in tensors.values()), "a checkpoint")
    first, second = (f"checkpoint.{number}.safetensors" for number in (0, 1))
    target = folder.path / (second if before is not None and before.file == first else first)
    partial = folder.path / f".{target.name}.partial"
    with room.waiting():
        try:
            partial.write_bytes(save(tensors))
            folder.complete(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    return CheckpointRow(checkpoint.cursor, target.name)


def read_checkpoint(folder: Path, row: CheckpointRow) -> Checkpoint:
    """The checkpoint that a row stands for."""
    if row.file is None:
        return Checkpoint(row.cursor)
    return Checkpoint(row.cursor, load_file(folder / row.file))
