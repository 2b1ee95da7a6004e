"""Facts of machines and bundles that are not at hand, for tests of what is said of them."""

from __future__ import annotations

from dataclasses import replace

from wan_trt.doctor.facts import (
    BundleFacts,
    Disk,
    Facts,
    Gpu,
    Gpus,
    Host,
    Part,
    Software,
)
from wan_trt.engine.memory.footprint import Footprint, StageBytes, VideoSize
from wan_trt.engine.plan_entry import Gpu as PlanGpu
from wan_trt.engine.plan_entry import PlanEntry, SymbolRange

GB = 10**9

H100 = Gpu("NVIDIA H100 80GB HBM3", "GPU-1111-aaaa", (9, 0), 85 * GB, 84 * GB, True, False)
L40S = Gpu("NVIDIA L40S", "GPU-1122-bbbb", (8, 9), 48 * GB, 47 * GB, True)
A100 = Gpu("NVIDIA A100-SXM4-40GB", "GPU-3333-cccc", (8, 0), 42 * GB, 42 * GB, True, False)

CPU_SOFTWARE = {
    Part.ONNX_RUNTIME: Software("1.31.1", offers=("CPUExecutionProvider",)),
    Part.TENSORRT: Software(),
    Part.CUDA_BINDINGS: Software(),
    Part.AV: Software("18.1.0", offers=("libx264",)),
    Part.GRPC: Software("1.85.1"),
    Part.TORCH: Software(),
}
GPU_SOFTWARE = CPU_SOFTWARE | {
    Part.TENSORRT: Software("11.4.0.106"),
    Part.CUDA_BINDINGS: Software("13.4.0"),
}

CPU_MACHINE = Facts(
    host=Host("Linux 6.8 x86_64", "3.12.3", 16, 128 * GB, 120 * GB),
    disk=Disk("/srv", 500 * GB),
    gpus=Gpus(problem="no NVIDIA driver answers (NVML Shared Library Not Found)"),
    visible_devices=None,
    software=CPU_SOFTWARE,
)

# About what Animate at FP8 with two experts needs: 52 GB for both, 35 GB for one at a time.
FOOTPRINT = Footprint(
    size=VideoSize(480, 832, 77),
    precision="fp8",
    experts={"high": 18 * GB, "low": 18 * GB},
    layers=40,
    shared=2 * GB,
    text_encoder=11 * GB,
    job=3 * GB,
    denoising=StageBytes(3 * GB, GB, exact=False),
    vae={"VAE decoding": StageBytes(3 * GB, 7 * GB, exact=False)},
)
FP8_BUNDLE = BundleFacts(
    path="animate",
    model="Animate",
    precision="fp8",
    nbytes=37 * GB,
    file_count=2500,
    verified=False,
    gate=True,
    experts=("high", "low"),
    footprints=(FOOTPRINT,),
    widened_nbytes=140 * GB,
)
H100_PLANS = tuple(
    PlanEntry(
        graph="denoiser",
        weight_set=weight_set,
        symbols={"frames": SymbolRange.fixed(21)},
        file=f"plans/{weight_set}.plan",
        model=f"plans/{weight_set}.onnx",
        sha256="00",
        nbytes=18 * GB,
        gpu=PlanGpu(H100.name, "9.0", "580.159.04"),
        tensorrt="11.4.0.106",
        scratch_nbytes=3 * GB,
    )
    for weight_set in ("high", "low")
)


def gpu_machine(*gpus: Gpu, visible_devices: str | None = None) -> Facts:
    """With a driver, and TensorRT and all that belongs to it."""
    return replace(
        CPU_MACHINE,
        gpus=Gpus("580.159.04", (13, 0), gpus),
        visible_devices=visible_devices,
        software=GPU_SOFTWARE,
    )
