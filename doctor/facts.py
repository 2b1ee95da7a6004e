"""What the probes found. Nothing here judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wan_trt.engine.memory.footprint import Footprint
from wan_trt.engine.plan_entry import PlanEntry


class Part(StrEnum):
    """Software that is asked for by the name of its distribution."""

    ONNX_RUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"
    CUDA_BINDINGS = "cuda-bindings"
    AV = "av"
    GRPC = "grpcio"
    TORCH = "torch"


@dataclass(frozen=True)
class Software:
    """`version` None: not installed. `problem` says why what is installed does not work; `offers`
    are the parts that matter here: execution providers, encoders; `withheld` is one that it was
    built with but that does not load, and why."""

    version: str | None = None
    problem: str | None = None
    offers: tuple[str, ...] = ()
    withheld: str | None = None

    @property
    def works(self) -> bool:
        return self.version is not None and self.problem is None


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a MIG slice of one. None is what it does not tell."""

    name: str
    uuid: str
    compute_capability: tuple[int, ...] | None
    total_nbytes: int
    free_nbytes: int
    ecc: bool | None = None
    mig: bool | None = None


@dataclass(frozen=True)
class Gpus:
    """All GPUs that the driver shows, in the order of their PCI addresses. `cuda` is the newest
    version that the driver serves. `problem` says why there are none."""

    driver: str | None = None
    cuda: tuple[int, ...] | None = None
    gpus: tuple[Gpu, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Host:
    """`available_nbytes` is what a process may still take, limits of a container included."""

    system: str
    python: str
    cores: int
    memory_nbytes: int
    available_nbytes: int


@dataclass(frozen=True)
class Disk:
    folder: str
    free_nbytes: int


@dataclass(frozen=True)
class BundleFacts:
    """A bundle that opened: every file is there at its recorded length. `verified` says that each
    hash was right too; `gate` is whether it passed, None where none judged it. `experts` are the
    denoiser's weight sets, `footprints` what it needs of a GPU at each size that was asked for.
    `widened_nbytes` is what ONNX Runtime makes on a CPU of weights that are not float32."""

    path: str
    model: str
    precision: str
    nbytes: int
    file_count: int
    verified: bool
    gate: bool | None
    experts: tuple[str, ...]
    footprints: tuple[Footprint, ...]
    widened_nbytes: int
    plans: tuple[PlanEntry, ...] = ()


@dataclass(frozen=True)
class BadBundle:
    """A bundle that cannot be used, and the error that says why."""

    path: str
    problem: str


@dataclass(frozen=True)
class Facts:
    """`visible_devices` is CUDA_VISIBLE_DEVICES, where it is set."""

    host: Host
    disk: Disk | None
    gpus: Gpus
    visible_devices: str | None
    software: Mapping[Part, Software]
    bundle: BundleFacts | BadBundle | None = None
