"""Asks everything and everybody: the facts of this machine, and of a bundle."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wan_trt.doctor.bundle_facts import bundle_facts
from wan_trt.doctor.facts import Facts, Gpus, Part, Software
from wan_trt.doctor.host import disk, host
from wan_trt.doctor.isolated import ask
from wan_trt.doctor.probes.installed import installed, version_of
from wan_trt.engine.strict_json import parse

SIZES = ((832, 480), (1280, 720))
GPUS = "gpus"
TIMEOUT_S = 30.0

_PROBES = {
    GPUS: "wan_trt.doctor.probes.nvml",
    Part.ONNX_RUNTIME: "wan_trt.doctor.probes.onnx_runtime",
    Part.AV: "wan_trt.doctor.probes.video",
    Part.TENSORRT: "wan_trt.doctor.probes.tensor_rt",
}
# Of these the version is enough: nothing here runs them, or they bring nothing that could break.
_LISTED = (Part.TORCH, Part.GRPC, Part.CUDA_BINDINGS)


def gather(
    bundle: Path | None,
    sizes: Sequence[tuple[int, int]] = SIZES,
    *,
    verify: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Facts:
    """`sizes` are widths and heights of videos that the bundle is to make. `verify` hashes every
    file of it; `on_progress` gets bytes hashed and in all. Raises InputError for a size that the
    bundle's model cannot have."""
    answers = ask({name: module for name, module in _PROBES.items() if _present(name)}, TIMEOUT_S)
    software = {name: installed(name) for name in _LISTED}
    for name in (Part.ONNX_RUNTIME, Part.AV, Part.TENSORRT):
        software[name] = _software(name, answers.get(name))
    return Facts(
        host=host(),
        disk=disk(Path() if bundle is None else bundle),
        gpus=_gpus(answers[GPUS]),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        software=software,
        bundle=None if bundle is None else bundle_facts(bundle, sizes, verify, on_progress),
    )


def _present(name: str) -> bool:
    """TensorRT is often absent, and then not worth a process that fails."""
    return name != Part.TENSORRT or version_of(name) is not None


def _gpus(answer: dict[str, Any] | str) -> Gpus:
    if isinstance(answer, str):
        return Gpus(problem=f"asking NVIDIA's driver failed: {answer}")
    found: Gpus = parse(Gpus, answer, GPUS)
    return found


def _software(name: Part, answer: dict[str, Any] | str | None) -> Software:
    """`answer` None: it was not asked, because it is not installed."""
    if answer is None:
        return Software()
    if isinstance(answer, str):
        return Software(version_of(name), problem=answer)
    found: Software = parse(Software, answer, name)
    return found
