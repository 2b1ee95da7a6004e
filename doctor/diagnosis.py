"""The facts judged: what runs here, what stands in the way, and the command's exit code. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from wan_trt.doctor.bundle_findings import (
    ABOUT,
    bundle_findings,
    cpu_findings,
    holds,
    plan_findings,
    runs_plans,
)
from wan_trt.doctor.facts import BadBundle, Facts, Gpu, Part
from wan_trt.doctor.finding import Finding, problem
from wan_trt.doctor.gpu_findings import CUDA, gpu_findings, visible_gpus
from wan_trt.doctor.software_findings import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    part,
    software_findings,
    tensorrt_serves,
)
from wan_trt.engine.errors import BundleError, ResourceError


class Backend(StrEnum):
    """What bundles run on, the fastest first."""

    TENSORRT = "TensorRT"
    ORT_CUDA = "ONNX Runtime on the GPU"
    ORT_CPU = "ONNX Runtime on the CPU"


@dataclass(frozen=True)
class Diagnosis:
    """`backends` are those that can run here: with a bundle, that bundle."""

    facts: Facts
    backends: tuple[Backend, ...]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0 when something can run, that of a bad bundle, else that of a lacking resource."""
        if isinstance(self.facts.bundle, BadBundle):
            return BundleError.exit_code
        return 0 if self.backends else ResourceError.exit_code


def diagnose(facts: Facts) -> Diagnosis:
    gpus = _usable(facts)
    return Diagnosis(facts, tuple(_backends(facts, gpus)), tuple(_findings(facts, gpus)))


def _usable(facts: Facts) -> tuple[Gpu, ...]:
    """The GPUs that a process sees, none where the driver is too old for any of our software."""
    if facts.gpus.cuda is not None and facts.gpus.cuda < CUDA:
        return ()
    return visible_gpus(facts.gpus, facts.visible_devices)


def _backends(facts: Facts, gpus: tuple[Gpu, ...]) -> Iterator[Backend]:
    bundle = facts.bundle
    if isinstance(bundle, BadBundle):
        return
    if bundle is not None:
        gpus = tuple(gpu for gpu in gpus if holds(gpu, bundle))
    planned = bundle is None or runs_plans(bundle, gpus, facts.software)
    if gpus and planned and tensorrt_serves(facts.software):
        yield Backend.TENSORRT
    runtime = part(facts.software, Part.ONNX_RUNTIME)
    if gpus and runtime.works and CUDA_PROVIDER in runtime.offers:
        yield Backend.ORT_CUDA
    if runtime.works and CPU_PROVIDER in runtime.offers:
        yield Backend.ORT_CPU


def _findings(facts: Facts, gpus: tuple[Gpu, ...]) -> Iterator[Finding]:
    yield from gpu_findings(facts.gpus, facts.visible_devices)
    yield from software_findings(facts.software, gpu=bool(gpus))
    bundle = facts.bundle
    if isinstance(bundle, BadBundle):
        yield problem(ABOUT, bundle.problem, "")
    elif bundle is not None:
        yield from bundle_findings(bundle, gpus=gpus)
        if gpus and tensorrt_serves(facts.software):
            yield from plan_findings(bundle, gpus, facts.gpus.driver, facts.software, facts.disk)
        else:
            yield from cpu_findings(bundle, facts.host)
