"""What is to be said of a bundle on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wan_trt.doctor.facts import BundleFacts, Disk, Gpu, Host, Part, Software
from wan_trt.doctor.finding import Finding, note, problem
from wan_trt.doctor.gpu_findings import FP8_CAPABILITY
from wan_trt.doctor.software_findings import part
from wan_trt.doctor.words import dotted, gigabytes
from wan_trt.engine.memory.residency import Mode, Residency, decide
from wan_trt.engine.models import DENOISER
from wan_trt.engine.plan_entry import PlanEntry

ABOUT = "bundle"
PLANS = "plans"
FP8 = "fp8"


def bundle_findings(bundle: BundleFacts, *, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    """Of the bundle by itself and of what it needs of these GPUs."""
    if bundle.gate is False:
        yield problem(
            ABOUT,
            "it did not pass its gate",
            "see `wan-trt inspect`; export it with another policy, or use its reference",
        )
    elif bundle.gate is None and bundle.precision == FP8:
        yield note(
            ABOUT,
            "no gate has judged this FP8 bundle",
            "compare it with `wan-trt gate` before it goes into production",
        )
    for gpu in gpus:
        capability = gpu.compute_capability
        if bundle.precision == FP8 and capability is not None and capability < FP8_CAPABILITY:
            yield problem(
                ABOUT,
                f"{gpu.name} ({dotted(capability)}) cannot compute with FP8",
                "export with --precision bf16 for it",
            )
        if not holds(gpu, bundle):
            least = min(residencies(bundle, gpu), key=lambda residency: residency.need.total)
            yield problem(
                ABOUT,
                f"{gpu.name} has {gigabytes(least.short_nbytes)} too little for "
                f"{least.footprint.size}",
                "free its memory, use a smaller --size or a larger GPU, or export with "
                "--precision fp8",
            )


def residencies(bundle: BundleFacts, gpu: Gpu) -> list[Residency]:
    """What of the bundle stays in the GPU's memory, at each size."""
    return [decide(footprint, gpu.free_nbytes) for footprint in bundle.footprints]


def holds(gpu: Gpu, bundle: BundleFacts) -> bool:
    """Whether it can run at any of the sizes."""
    return any(residency.mode is not Mode.NONE for residency in residencies(bundle, gpu))


def cpu_findings(bundle: BundleFacts, host: Host) -> Iterator[Finding]:
    """What ONNX Runtime needs of this machine's memory: float32 is mapped, all else is widened."""
    if bundle.widened_nbytes > host.available_nbytes:
        yield problem(
            "memory",
            f"on a CPU {bundle.precision} weights become {gigabytes(bundle.widened_nbytes)} of "
            f"float32, {gigabytes(host.available_nbytes)} are available",
            "export with --precision fp32, whose weights are mapped from their files, or use "
            "more memory",
        )


def runs_plans(bundle: BundleFacts, gpus: Sequence[Gpu], software: Mapping[Part, Software]) -> bool:
    """Whether there is a plan of each expert's denoiser that runs here."""
    fitting = {
        plan.weight_set
        for plan in bundle.plans
        if plan.graph == DENOISER and _misfit(plan, gpus, software) is None
    }
    return fitting >= set(bundle.experts)


def plan_findings(
    bundle: BundleFacts,
    gpus: Sequence[Gpu],
    driver: str | None,
    software: Mapping[Part, Software],
    disk: Disk | None,
) -> Iterator[Finding]:
    """Of a machine that could run plans: whether the bundle's do, and why not."""
    if not runs_plans(bundle, gpus, software):
        reasons = sorted({r for plan in bundle.plans if (r := _misfit(plan, gpus, software))})
        yield problem(
            PLANS,
            " and ".join(reasons) or "not every expert's denoiser has one",
            f"make them here: wan-trt build {bundle.path} --size WIDTHxHEIGHT",
        )
        if disk is not None and disk.free_nbytes < bundle.nbytes:
            yield note(
                "disk",
                f"{gigabytes(disk.free_nbytes)} are free beside {gigabytes(bundle.nbytes)}",
                "plans may take as much as the weights: make room before building",
            )
    fitting = [plan for plan in bundle.plans if _misfit(plan, gpus, software) is None]
    drivers = sorted({plan.gpu.driver for plan in fitting} - {driver})
    if drivers:
        yield note(
            PLANS,
            f"built with driver {', '.join(drivers)}, here is {driver}",
            "they should run; build them again where results or times differ",
        )
    if loose := [plan.name for plan in fitting if plan.fusions and plan.fusions.unfused]:
        yield note(
            PLANS,
            f"not everything is fused in {', '.join(loose)}",
            "they are slower than they could be: `wan-trt inspect` tells more",
        )


def _misfit(plan: PlanEntry, gpus: Sequence[Gpu], software: Mapping[Part, Software]) -> str | None:
    """Why the plan cannot run: it belongs to one model of GPU and one TensorRT."""
    version = part(software, Part.TENSORRT).version
    if plan.tensorrt != version:
        return f"built by TensorRT {plan.tensorrt}, here is {version}"
    here = {gpu.name for gpu in gpus}
    if plan.gpu.name not in here:
        return f"built for {plan.gpu.name}, here is {', '.join(sorted(here))}"
    return None
