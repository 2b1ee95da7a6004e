"""A diagnosis as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from wan_trt.doctor.bundle_findings import residencies
from wan_trt.doctor.diagnosis import Diagnosis
from wan_trt.doctor.facts import BundleFacts, Facts, Gpu, Part, Software
from wan_trt.doctor.finding import Weight
from wan_trt.doctor.gpu_findings import visible_gpus
from wan_trt.doctor.software_findings import part
from wan_trt.doctor.words import dotted, fit, gigabytes

_WIDTH = 15
_TORCH = "only export and calibrate need it"


def lines(diagnosis: Diagnosis) -> Iterator[str]:
    """What was found, what runs, and what to do."""
    yield from _machine(diagnosis.facts)
    yield from _software(diagnosis.facts)
    if isinstance(diagnosis.facts.bundle, BundleFacts):
        yield from _bundle(diagnosis.facts, diagnosis.facts.bundle)
    yield _line("runs here", ", ".join(diagnosis.backends) or "nothing")
    for weight in Weight:
        for finding in diagnosis.findings:
            if finding.weight is weight:
                yield _line(weight, str(finding))


def _machine(facts: Facts) -> Iterator[str]:
    host = facts.host
    yield _line("machine", f"{host.system}, Python {host.python}, {host.cores} cores")
    yield _line(
        "memory", f"{gigabytes(host.memory_nbytes)}, {gigabytes(host.available_nbytes)} available"
    )
    if facts.disk is not None:
        yield _line("disk", f"{gigabytes(facts.disk.free_nbytes)} free in {facts.disk.folder}")
    if facts.gpus.driver is not None:
        cuda = "" if facts.gpus.cuda is None else f", CUDA {dotted(facts.gpus.cuda)}"
        yield _line("driver", f"{facts.gpus.driver}{cuda}")
    for gpu in facts.gpus.gpus:
        hidden = gpu not in visible_gpus(facts.gpus, facts.visible_devices)
        yield _line("gpu", _gpu(gpu) + (", hidden by CUDA_VISIBLE_DEVICES" if hidden else ""))
    if not facts.gpus.gpus:
        yield _line("gpu", "none")


def _gpu(gpu: Gpu) -> str:
    words = [gpu.name]
    if gpu.compute_capability is not None:
        words.append(f"compute capability {dotted(gpu.compute_capability)}")
    words.append(f"{gigabytes(gpu.free_nbytes)} of {gigabytes(gpu.total_nbytes)} free")
    for name, state in (("ECC", gpu.ecc), ("MIG", gpu.mig)):
        if state is not None:
            words.append(f"{name} {'on' if state else 'off'}")
    return ", ".join(words)


def _software(facts: Facts) -> Iterator[str]:
    for name in Part:
        found = part(facts.software, name)
        yield _line(name, _version(found) + (f" ({_TORCH})" if name is Part.TORCH else ""))


def _version(found: Software) -> str:
    if found.version is None:
        return found.problem or "not installed"
    if found.problem is not None:
        return f"{found.version}, does not load"
    return f"{found.version}{': ' if found.offers else ''}{', '.join(found.offers)}"


def _bundle(facts: Facts, bundle: BundleFacts) -> Iterator[str]:
    checked = "every hash is right" if bundle.verified else "sizes checked, hashes not (--verify)"
    yield _line("bundle", f"{bundle.path}: {bundle.model}, {bundle.precision}")
    yield _line("files", f"{bundle.file_count}, {gigabytes(bundle.nbytes)}, {checked}")
    gate = {True: "passed", False: "failed", None: "not judged"}[bundle.gate]
    yield _line("gate", gate)
    yield _line("plans", f"{len(bundle.plans) or 'none'}")
    for gpu in visible_gpus(facts.gpus, facts.visible_devices):
        for residency in residencies(bundle, gpu):
            yield _line("fits", f"{gpu.name}, {fit(residency)}")


def _line(label: str, text: str) -> str:
    return f"{label:<{_WIDTH}}{text}"
