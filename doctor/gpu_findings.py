"""Which GPUs a process would see, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Iterator

from wan_trt.doctor.facts import Gpu, Gpus
from wan_trt.doctor.finding import Finding, note, problem
from wan_trt.doctor.words import dotted

ABOUT = "gpu"
CUDA = (
    13,
    0,
)  # of the packages in the extra `trt`; a driver serves its own major version and older
CUDA_DRIVER = "580"
BF16_CAPABILITY = (8, 0)
FP8_CAPABILITY = (8, 9)


def visible_gpus(gpus: Gpus, visible_devices: str | None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in its order. As in CUDA the list ends at the
    first entry that names none. Numbers are taken in the order of PCI addresses, which CUDA has
    with CUDA_DEVICE_ORDER=PCI_BUS_ID, and on a machine whose GPUs are alike."""
    if visible_devices is None:
        return gpus.gpus
    found: list[Gpu] = []
    for entry in visible_devices.split(","):
        gpu = _named(gpus.gpus, entry.strip())
        if gpu is None:
            break
        found.append(gpu)
    return tuple(found)


def gpu_findings(gpus: Gpus, visible_devices: str | None) -> Iterator[Finding]:
    if not gpus.gpus:
        broken = gpus.driver is not None
        yield (problem if broken else note)(
            ABOUT,
            gpus.problem or "none",
            "look at `nvidia-smi` and the kernel's log"
            if broken
            else "for TensorRT use a machine with an NVIDIA GPU and its driver; in a container "
            "start it with --gpus all",
        )
        return
    if gpus.cuda is not None and gpus.cuda < CUDA:
        yield problem(
            ABOUT,
            f"driver {gpus.driver} serves CUDA up to {dotted(gpus.cuda)}, {dotted(CUDA)} is needed",
            f"update it to {CUDA_DRIVER} or newer",
        )
    seen = visible_gpus(gpus, visible_devices)
    if not seen:
        yield problem(
            ABOUT,
            f"CUDA_VISIBLE_DEVICES is {visible_devices!r}, which names none of the GPUs",
            "unset it, or name one",
        )
    for gpu in seen:
        yield from _of(gpu)


def _of(gpu: Gpu) -> Iterator[Finding]:
    capability = gpu.compute_capability
    if capability is not None and capability < BF16_CAPABILITY:
        yield problem(
            ABOUT,
            f"{gpu.name} has compute capability {dotted(capability)}, which has no bfloat16",
            f"use one of {dotted(BF16_CAPABILITY)} or newer",
        )
    elif capability is not None and capability < FP8_CAPABILITY:
        yield note(
            ABOUT,
            f"{gpu.name} has compute capability {dotted(capability)}, which has no FP8",
            f"use bf16 bundles here; FP8 begins at {dotted(FP8_CAPABILITY)} (L40, H100)",
        )
    if gpu.ecc is False:
        yield note(
            ABOUT,
            f"{gpu.name} runs without ECC",
            "a flipped bit shows as a wrong picture only; turn it on where results matter",
        )
    if gpu.mig:
        yield note(
            ABOUT,
            f"{gpu.name} is a slice of a GPU",
            "plans fit slices of the same profile only; CUDA uses one slice a process",
        )


def _named(gpus: tuple[Gpu, ...], entry: str) -> Gpu | None:
    """By number, or by the beginning of a UUID that fits one alone."""
    if entry.isascii() and entry.isdigit():
        return gpus[int(entry)] if int(entry) < len(gpus) else None
    fitting = [gpu for gpu in gpus if entry and gpu.uuid.startswith(entry)]
    return fitting[0] if len(fitting) == 1 else None
