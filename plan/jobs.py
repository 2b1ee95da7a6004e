"""What the processes of a build are asked to do, and what they answer: JSON between them.

Paths are absolute. An engine's process leaves its files in `folder` under the names below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wan_trt.engine.plan_entry import Gpu

PLAN = "engine.plan"
LAYERS = "layers.json"
TIMING_CACHE = "timing.cache"
OUTPUTS = "outputs.safetensors"
REFITTED = "refitted.safetensors"
EXCHANGED = "exchanged.safetensors"


@dataclass(frozen=True)
class BuildOptions:
    """`workspace_nbytes`: what one tactic may use, None: all of the GPU. `pinned`: no tactics but
    those that the timing cache knows. `strip`: plans without weights. `refit_loras`: the matrices
    that LoRAs changed may be exchanged later. `gate`: refuse a plan that is not fused; without it
    what is not fused is noted.
    """

    workspace_nbytes: int | None = None
    optimization_level: int = 3
    pinned: bool = False
    strip: bool = False
    refit_loras: bool = False
    gate: bool = True
    parity: bool = True
    seed: int = 0


@dataclass(frozen=True)
class ShapeRange:
    """The shapes of an input that an engine serves."""

    least: tuple[int, ...]
    best: tuple[int, ...]
    most: tuple[int, ...]


@dataclass(frozen=True)
class EngineJob:
    """Build `model`, a graph without weights, with `weights`: parameter -> file of its bytes.

    `ranges` has the inputs without a fixed shape. `refittable` are the parameters that may be
    exchanged, `exchanged` other bytes for some of them, to try that. With `inputs`, a safetensors
    file, the engine is run on them: as built, with its own weights put back, and with `exchanged`;
    `outputs` are its float32 outputs' shapes.
    """

    model: str
    weights: Mapping[str, str]
    folder: str
    ranges: Mapping[str, ShapeRange]
    outputs: Mapping[str, tuple[int, ...]]
    timing_cache: str | None
    options: BuildOptions
    refittable: tuple[str, ...] = ()
    exchanged: Mapping[str, str] = field(default_factory=dict)
    inputs: str | None = None


@dataclass(frozen=True)
class EngineResult:
    scratch_nbytes: int


@dataclass(frozen=True)
class ProbeJob:
    """Tell what plans would be built with here."""


@dataclass(frozen=True)
class Toolchain:
    """The GPU and the TensorRT that plans are built with."""

    gpu: Gpu
    tensorrt: str


@dataclass(frozen=True)
class ReferenceJob:
    """Run a bundle's graph on ONNX Runtime: `inputs` -> `outputs`, safetensors files. `exchanged`
    has other bytes for some parameters."""

    bundle: str
    graph: str
    weight_set: str
    sizes: Mapping[str, int]
    inputs: str
    outputs: str
    exchanged: Mapping[str, str] = field(default_factory=dict)
    threads: int | None = None


@dataclass(frozen=True)
class Done:
    """The answer of a job whose files are its result."""


@dataclass(frozen=True)
class BuildProgress:
    """`phase` of the work on `engine`; `done` of `total` steps of it."""

    engine: str
    phase: str
    done: int = 0
    total: int = 0
