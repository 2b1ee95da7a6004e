"""Which files of a folder belong together: single files, and shards by index or by number."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wan_trt.engine.errors import CheckpointError
from wan_trt.export.layouts.headers import PICKLES, SAFETENSORS, Header, read_headers
from wan_trt.export.layouts.renamed import shown
from wan_trt.export.pickled_tensors import PickledTensors
from wan_trt.export.safetensors_files import ShardedTensors
from wan_trt.export.tensors import TensorSource

_INDEX = f"{SAFETENSORS}.index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})\.safetensors")


@dataclass(frozen=True, eq=False)
class WeightFiles:
    """Files that together hold a flat set of tensors, and the headers of these."""

    files: tuple[Path, ...]
    headers: Mapping[str, Header]

    @staticmethod
    def read(files: tuple[Path, ...]) -> WeightFiles:
        """Raises CheckpointError for damaged files and for a tensor that two of them have."""
        home: dict[str, Path] = {}
        headers: dict[str, Header] = {}
        for file in files:
            for name, header in read_headers(file).items():
                if name in home:
                    raise CheckpointError(
                        f"{name} is in {home[name].name} and in {file.name}",
                        expected="every tensor once",
                        action="remove the files of the other checkpoint",
                    )
                home[name] = file
                headers[name] = header
        return WeightFiles(files, headers)

    @property
    def pickled(self) -> bool:
        return self.files[0].suffix != SAFETENSORS

    def open(self) -> TensorSource:
        """All tensors under the names that the files give them."""
        return PickledTensors(self.files[0]) if self.pickled else ShardedTensors(self.files)


def file_groups(root: Path) -> Iterator[tuple[Path, ...]]:
    """The weights files in a folder and in the folders right below it, in groups that belong
    together; `root` may also be one such file.

    Raises CheckpointError where an index or the numbers of shards name files that are not there.
    """
    if root.is_file():
        yield (root,)
        return
    folders = [root, *(f for f in sorted(root.iterdir()) if f.is_dir() and f.name[0] != ".")]
    for folder in folders:
        yield from _groups(folder)


def _groups(folder: Path) -> Iterator[tuple[Path, ...]]:
    entries = [entry for entry in sorted(folder.iterdir()) if entry.is_file()]
    single = {f for f in entries if f.suffix == SAFETENSORS or f.suffix in PICKLES}
    for index in (entry for entry in entries if entry.name.endswith(_INDEX)):
        shards = tuple(folder / name for name in _indexed(index))
        _require(index.name, [shard for shard in shards if not shard.is_file()])
        single -= set(shards)
        yield shards
    numbered: dict[tuple[str, int], list[Path]] = defaultdict(list)
    for file in sorted(single):
        if match := _SHARD.fullmatch(file.name):
            numbered[match["stem"], int(match["total"])].append(file)
            single.remove(file)
    for (stem, total), shards_there in numbered.items():
        wanted = [folder / f"{stem}-{i:05}-of-{total:05}{SAFETENSORS}" for i in range(1, total + 1)]
        _require(shards_there[0].name, [file for file in wanted if file not in shards_there])
        yield tuple(shards_there)
    for file in sorted(single):
        yield (file,)


def _indexed(index: Path) -> list[str]:
    """The files that an index names."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if not names or any(Path(name).name != name for name in names):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{index} is no safetensors index", action="fetch it again") from None
    return sorted(names)


def _require(origin: str, missing: list[Path]) -> None:
    if missing:
        raise CheckpointError(
            f"{missing[0].parent} lacks {shown([file.name for file in missing])}",
            expected=f"all shards that {origin} stands for",
            action="complete the download",
        )
