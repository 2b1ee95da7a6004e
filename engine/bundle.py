"""The bundle: the folder that export writes and the runtime reads; all that the two share.

    manifest.json             what is inside, with hashes: parsed into Manifest
    graphs/NAME.onnx          one file a graph, without weights
    weights/SET/NAME.bin      weights of graph NAME in weight set SET ("shared", "high", "low")
    prompts.safetensors       text rows of the model's own prompts
    tokenizer.json            for other prompts
    lora_report.json          what was folded, key by key (only with LoRAs)

The graphs refer to their weights as `NAME.bin` in a folder that is named when they are loaded, so
both experts share one graph file.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import ExpertName

SCHEMA = 2
MANIFEST = "manifest.json"
SHARED = "shared"


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle by its path inside it."""

    sha256: str
    nbytes: int


@dataclass(frozen=True)
class GraphEntry:
    """A graph, its interface, and which weight set serves it: one for all, or one per expert.

    `weights` maps "shared", or "high" and "low", to the folder under weights/ that holds
    `NAME.bin`. Experts whose weights are the same bytes name the same folder.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: Mapping[str, str]

    @property
    def spec(self) -> GraphSpec:
        return GraphSpec(self.inputs, self.outputs)


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from: enough to make it again."""

    tool: str
    checkpoint: Mapping[str, str]
    loras: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """`boundary` is a share of 1000 timesteps: the high-noise expert serves t >= boundary*1000.

    `prompts` holds the texts whose embeddings lie in prompts.safetensors, by tensor name
    ("positive", "negative").
    """

    schema: int
    model: ModelName
    precision: str
    boundary: float
    geometry: Geometry
    graphs: Mapping[str, GraphEntry]
    files: Mapping[str, FileEntry]
    prompts: Mapping[str, str]
    provenance: Provenance

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str, where: str = MANIFEST) -> Manifest:
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise BundleError(
                f"{where} is not JSON ({error})", action="export the bundle again"
            ) from None
        schema = data.get("schema") if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise BundleError(
                f"{where} has schema {schema!r}",
                expected=f"schema {SCHEMA}",
                action="export the bundle with this version, or use the one that made it",
            )
        manifest: Manifest = _parse(Manifest, data, where)
        return manifest


def _parse(kind: Any, data: Any, where: str) -> Any:
    """Strict JSON -> dataclass: unknown or missing keys and wrong types are errors."""
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(data, dict):
            raise BundleError(f"{where} is {type(data).__name__}", expected="an object")
        hints = typing.get_type_hints(kind)
        if unknown := sorted(set(data) - set(hints)):
            raise BundleError(f"{where} has unknown keys {unknown}", action="update wan-trt")
        if missing := sorted(
            f.name
            for f in fields(kind)
            if f.name not in data and f.default is MISSING and f.default_factory is MISSING
        ):
            raise BundleError(f"{where} lacks {missing}", action="export the bundle again")
        return kind(**{k: _parse(hints[k], v, f"{where}.{k}") for k, v in data.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        optional = types.NoneType in arguments and data is not None
        return _parse(arguments[0], data, where) if optional else data
    if origin is not None and not isinstance(data, list if origin is tuple else dict):
        raise BundleError(
            f"{where} is {data!r}", expected="a list" if origin is tuple else "an object"
        )
    if origin is tuple:
        return tuple(_parse(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(data))
    if origin is not None:  # Mapping[str, ..]
        return {k: _parse(arguments[1], v, f"{where}.{k}") for k, v in data.items()}
    if kind is Any:
        return data
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if data not in list(kind):
            raise BundleError(
                f"{where} is {data!r}", expected=" or ".join(kind), action="update wan-trt"
            )
        return kind(data)
    if not isinstance(data, (int, float) if kind is float else kind):
        raise BundleError(f"{where} is {data!r}", expected=f"a {kind.__name__}")
    return data


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Opening checks that every file is there at its recorded length."""

    path: Path
    manifest: Manifest

    @staticmethod
    def open(path: str | Path) -> Bundle:
        """Raises BundleError for a missing, truncated, foreign or newer bundle."""
        root = Path(path)
        try:
            text = (root / MANIFEST).read_text(encoding="utf-8")
        except OSError:
            raise BundleError(
                f"{root} has no {MANIFEST}",
                expected="a folder written by `wan-trt export`",
                action="check the path",
            ) from None
        except UnicodeDecodeError as error:
            raise BundleError(
                f"{root / MANIFEST} is not UTF-8 ({error.reason} at byte {error.start})",
                action="copy or export the bundle again",
            ) from None
        manifest = Manifest.from_json(text, str(root / MANIFEST))
        for name, entry in manifest.files.items():
            file = root / name
            nbytes = file.stat().st_size if file.is_file() else None
            if nbytes != entry.nbytes:
                found = "is missing" if nbytes is None else f"has {nbytes} bytes"
                raise BundleError(
                    f"{file} {found}",
                    expected=f"{entry.nbytes} bytes",
                    action="copy or export the bundle again",
                )
        return Bundle(root, manifest)

    def verify(self) -> None:
        """Hash every file: slow for real models, exact. Raises BundleError on a mismatch."""
        for name, entry in self.manifest.files.items():
            if (found := sha256_file(self.path / name)) != entry.sha256:
                raise BundleError(
                    f"{self.path / name} has sha256 {found}",
                    expected=entry.sha256,
                    action="copy or export the bundle again",
                )

    def graph_path(self, name: str) -> Path:
        return self.path / "graphs" / f"{name}.onnx"

    def weight_set(self, name: str, expert: ExpertName | None = None) -> str:
        """The weight set that graph `name` uses for `expert`."""
        weights = self.manifest.graphs[name].weights
        return weights[SHARED] if expert is None or SHARED in weights else weights[expert.value]

    def weights_folder(self, weight_set: str) -> Path:
        return self.path / "weights" / weight_set


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
