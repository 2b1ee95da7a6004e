"""What is to be said of a bundle on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wan_trt.doctor.facts import BundleFacts, Disk, Gpu, Host, Part, PlanFact, Software
from wan_trt.doctor.finding import Finding, note, problem
from wan_trt.doctor.fits import Resident, fit_on_gpu, gigabytes
from wan_trt.doctor.gpu_findings import FP8_CAPABILITY, dotted
from wan_trt.doctor.software_findings import part

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
        fit = fit_on_gpu(bundle.weights, gpu.free_nbytes)
        if fit.resident is Resident.NONE:
            yield problem(
                ABOUT,
                f"{gpu.name}: {fit}",
                "free its memory, export with --precision fp8, or use a larger GPU",
            )


def cpu_findings(bundle: BundleFacts, host: Host) -> Iterator[Finding]:
    """What ONNX Runtime needs of this machine's memory: float32 is mapped, all else is widened."""
    if bundle.weights.widened > host.available_nbytes:
        yield problem(
            "memory",
            f"on a CPU {bundle.precision} weights become {gigabytes(bundle.weights.widened)} of "
            f"float32, {gigabytes(host.available_nbytes)} are available",
            "export with --precision fp32, whose weights are mapped from their files, or use "
            "more memory",
        )


def fitting_plans(
    bundle: BundleFacts, gpus: Sequence[Gpu], software: Mapping[Part, Software]
) -> tuple[PlanFact, ...]:
    """The plans that were built by this TensorRT on a GPU such as one of these."""
    return tuple(plan for plan in bundle.plans if _misfit(plan, gpus, software) is None)


def plan_findings(
    bundle: BundleFacts,
    gpus: Sequence[Gpu],
    driver: str | None,
    software: Mapping[Part, Software],
    disk: Disk | None,
) -> Iterator[Finding]:
    """Of a machine that could run plans: which of the bundle's do not fit, and why."""
    if not bundle.plans:
        yield note(
            PLANS,
            "the bundle has none",
            f"make them here: wan-trt build {bundle.path} --size WIDTHxHEIGHT",
        )
    else:
        misfits = {reason for plan in bundle.plans if (reason := _misfit(plan, gpus, software))}
        for reason in sorted(misfits):
            yield problem(PLANS, reason, "build them again on this machine")
        if not misfits and any(plan.driver != driver for plan in bundle.plans):
            yield note(
                PLANS,
                f"built with driver {', '.join(sorted({p.driver for p in bundle.plans}))}, "
                f"here is {driver}",
                "they should run; build them again where results or times differ",
            )
    if disk is not None and disk.free_nbytes < bundle.nbytes:
        yield note(
            "disk",
            f"{gigabytes(disk.free_nbytes)} are free beside a bundle of {gigabytes(bundle.nbytes)}",
            "plans may take as much as the weights: make room before building",
        )


def _misfit(plan: PlanFact, gpus: Sequence[Gpu], software: Mapping[Part, Software]) -> str | None:
    """Why the plan cannot run: it belongs to one kind of GPU and one version of TensorRT."""
    version = part(software, Part.TENSORRT).version
    if plan.tensorrt != version:
        return f"built by TensorRT {plan.tensorrt}, here is {version}"
    if plan.gpu not in {gpu.name for gpu in gpus}:
        return f"built for {plan.gpu}, here is {', '.join(sorted({g.name for g in gpus}))}"
    return None
