"""The manifest: what a bundle holds, where each byte of it comes from, and how it was made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from wan_trt.engine.errors import BundleError
from wan_trt.engine.executor import GraphSpec, TensorSpec, item_nbytes
from wan_trt.engine.geometry import Geometry
from wan_trt.engine.models import ModelName
from wan_trt.engine.plan_entry import PlanEntry
from wan_trt.engine.request import ExpertName
from wan_trt.engine.strict_json import parse

SCHEMA = 5
MANIFEST = "manifest.json"
SHARED = "shared"


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle by its path inside it."""

    sha256: str
    nbytes: int


@dataclass(frozen=True)
class Change:
    """Factors of a LoRA file, or a full change of it, added as strength * scale * change.

    `half` is the half of the rows that is changed, None all of them.
    """

    keys: tuple[str, ...]
    strength: float
    scale: float
    half: int | None = None


@dataclass(frozen=True)
class Fold:
    """What the LoRA file with the hash `lora` changes in the checkpoint's tensor `tensor`."""

    lora: str
    tensor: str
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Scale:
    """A parameter that is the scale of E4M3 values: a greatest magnitude / 448. Of an input it is
    that of `range`; without one it is that of each column of the matrix that the recipe makes, or
    the one that calibration found for it."""

    range: float | None = None


@dataclass(frozen=True)
class Recipe:
    """How a parameter's bytes are made: read from the part `part` of the checkpoint, folded, laid
    out as the graph wants them, and rounded to `dtype`; `float8_e4m3fn` after division by the
    scale of each column. With a `scale` the parameter is that, not the values. `fitted` is the
    sha256 of float32 numbers that calibration gave: for an FP8 matrix and its scales the scale of
    each column, for a bias what is added to it.

    For the same parameter of the same checkpoint equal recipes give equal bytes.
    """

    part: str
    sources: tuple[str, ...]
    dtype: str
    folds: tuple[Fold, ...] = ()
    scale: Scale | None = None
    fitted: str | None = None


@dataclass(frozen=True)
class FoldNorms:
    """Euclidean norms of what a fold adds to a tensor, and of the tensor before."""

    change: float
    weight: float


@dataclass(frozen=True)
class StoredTensor:
    """A parameter's value: the file weights/SHA256, little-endian, in C order, without a header.

    `norms` belong to the folds of `made`, one for one.
    """

    sha256: str
    shape: tuple[int, ...]
    made: Recipe
    norms: tuple[FoldNorms, ...] = ()

    @property
    def nbytes(self) -> int:
        """Of the file."""
        return math.prod(self.shape) * item_nbytes(self.made.dtype)


@dataclass(frozen=True)
class GraphEntry:
    """A graph, its interface and its parameters: weight set -> parameter -> tensor.

    There is one weight set, "shared", where both experts have the same weights, else "high" and
    "low"; a tensor that both have is one file also then.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: Mapping[str, Mapping[str, StoredTensor]]

    @property
    def spec(self) -> GraphSpec:
        return GraphSpec(self.inputs, self.outputs)


@dataclass(frozen=True)
class SourceFile:
    """A file that a bundle was made from. A file of the same size and time of modification
    (nanoseconds since 1970) is taken for the same by the next export."""

    sha256: str
    nbytes: int
    modified_ns: int


@dataclass(frozen=True)
class Provenance:
    """Where a bundle comes from. `checkpoint` has the files by their path inside it; `loras` what
    each expert's stack was; `calibration` the hash of what was measured for each expert
    (calibration_record.py), where something is FP8."""

    tool: str
    checkpoint: Mapping[str, SourceFile]
    loras: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GateRecord:
    """How the bundle did when it was last compared with another (docs/fp8.md).

    `against` is the sha256 of the other bundle's manifest, or of the reference file; `thresholds`
    the digest of what was asked; `job` has the settings of each job by the name of its sample.
    `numbers` has the worst value of each quantity, None where it is not finite; `failed` names
    the quantities that were out of bounds.
    """

    passed: bool
    against: str
    thresholds: str
    job: Mapping[str, Any]
    numbers: Mapping[str, float | None]
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """`boundary` is a share of 1000 timesteps: the high-noise expert serves t >= boundary*1000.

    `prompts` holds the texts whose embeddings lie in prompts.safetensors, by tensor name
    ("positive", "negative"). `gate` is None for a bundle that no gate has judged. `plans` are
    those of all GPUs that it was built on.
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
    gate: GateRecord | None = None
    plans: tuple[PlanEntry, ...] = ()

    def weight_set(self, graph: str, expert: ExpertName | None = None) -> str:
        """The weight set that a graph uses for `expert`; None for graphs that all share."""
        if expert is None or SHARED in self.graphs[graph].weights:
            return SHARED
        return expert.value

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str, where: str = MANIFEST) -> Manifest:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
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
        manifest: Manifest = parse(Manifest, data, where)
        return manifest
