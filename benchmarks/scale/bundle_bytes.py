"""How large a bundle is: what its graphs refer to, what lies on the disk, what a run wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import onnx

from wan_trt.engine.manifest import MANIFEST

Inode = tuple[int, int]


def inodes(folder: Path) -> dict[Inode, int]:
    """Size in bytes of every file under `folder`; hard links count once."""
    stats = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return {(stat.st_dev, stat.st_ino): stat.st_size for stat in stats}


def referred_nbytes(bundle: Path) -> int:
    """Weights of all graphs and weight sets, shared ones as often as they are referred to."""
    entries = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))["graphs"]
    return sum(
        len(entry["weights"]) * _external_nbytes(bundle / "graphs" / f"{name}.onnx")
        for name, entry in entries.items()
    )


def written_nbytes(before: Mapping[Inode, int], after: Mapping[Inode, int]) -> int:
    """Of the files in `after` that are not those in `before`."""
    return sum(size for inode, size in after.items() if inode not in before)


def _external_nbytes(graph: Path) -> int:
    model = onnx.load(graph, load_external_data=False)
    return sum(
        int(entry.value)
        for initializer in model.graph.initializer
        for entry in initializer.external_data
        if entry.key == "length"
    )
