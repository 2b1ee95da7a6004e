"""What is to be said of the software: what is missing, broken, or not needed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from wan_trt.doctor.facts import Part, Software
from wan_trt.doctor.finding import Finding, note, problem
from wan_trt.doctor.probes.video import ENCODER

TENSORRT = (11, 4)  # older ones drop the bias of a refitted linear, and read none of opset 23
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
_NO_SOFTWARE = Software()


def software_findings(software: Mapping[Part, Software], *, gpu: bool) -> Iterator[Finding]:
    """`gpu`: whether there is one that a process may use."""
    if not part(software, Part.ONNX_RUNTIME).works:
        yield _broken(software, Part.ONNX_RUNTIME, "pip install --force-reinstall onnxruntime")
    yield from _video(part(software, Part.AV))
    if part(software, Part.GRPC).version is None:
        yield note(
            Part.GRPC,
            "not installed: no server and no client",
            "for serve, submit, watch, cancel, fetch and health: pip install 'wan-trt[server]'",
        )
    if gpu:
        yield from _tensorrt(software)
        if withheld := part(software, Part.ONNX_RUNTIME).withheld:
            yield problem(
                Part.ONNX_RUNTIME,
                f"does not load {withheld}",
                "pip install 'onnxruntime-gpu[cuda,cudnn]' of its version",
            )


def tensorrt_serves(software: Mapping[Part, Software]) -> bool:
    """Whether TensorRT loads, is new enough, and CUDA can be called beside it."""
    tensorrt = part(software, Part.TENSORRT)
    return (
        tensorrt.works
        and numbers(tensorrt.version or "") >= TENSORRT
        and part(software, Part.CUDA_BINDINGS).works
    )


def part(software: Mapping[Part, Software], name: Part) -> Software:
    return software.get(name, _NO_SOFTWARE)


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "11.4.0.106" -> (11, 4, 0, 106)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _video(av: Software) -> Iterator[Finding]:
    if not av.works:
        yield problem(
            Part.AV,
            av.problem or "not installed: videos can be neither read nor written",
            "pip install --force-reinstall av",
        )
    elif ENCODER not in av.offers:
        yield problem(
            Part.AV,
            f"its FFmpeg has no encoder {ENCODER}: results cannot be .mp4",
            "install the wheel of PyAV instead of a build of your own, or write .safetensors",
        )


def _tensorrt(software: Mapping[Part, Software]) -> Iterator[Finding]:
    tensorrt = part(software, Part.TENSORRT)
    wanted = ".".join(map(str, TENSORRT))
    if tensorrt.version is None:
        yield problem(
            Part.TENSORRT,
            "not installed: the GPU is not used through it",
            "pip install 'wan-trt[cuda,trt]', or use the image of Dockerfile.trt",
        )
    elif tensorrt.problem is not None:
        yield _broken(software, Part.TENSORRT, "pip install --force-reinstall 'wan-trt[trt]'")
    elif numbers(tensorrt.version) < TENSORRT:
        yield problem(
            Part.TENSORRT,
            f"{tensorrt.version} is too old, {wanted} is needed",
            f"pip install 'tensorrt>={wanted}'",
        )
    if part(software, Part.CUDA_BINDINGS).version is None:
        yield problem(
            Part.CUDA_BINDINGS,
            "not installed: GPU memory and kernels cannot be managed",
            "pip install 'wan-trt[cuda]'",
        )


def _broken(software: Mapping[Part, Software], name: Part, action: str) -> Finding:
    found = part(software, name)
    return problem(name, f"{found.version or ''} does not load: {found.problem}".strip(), action)
