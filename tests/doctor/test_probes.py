"""The probes: on this machine, on an NVML made to order, and where a library breaks."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wan_trt.doctor.facts import Gpu, Part
from wan_trt.doctor.gather import gather
from wan_trt.doctor.host import available_nbytes, disk, left_of_limit
from wan_trt.doctor.isolated import ask
from wan_trt.doctor.probes import nvml

GIB = 1 << 30


class NvmlError(Exception):
    """As pynvml.NVMLError: what every call raises."""


def nvml_module(**changed: object) -> Any:
    """pynvml on a machine with one H100; an exception in `changed` is raised by that call."""
    answers: dict[str, object] = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlSystemGetDriverVersion": "580.159.04",
        "nvmlSystemGetCudaDriverVersion_v2": 13000,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "gpu0",
        "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
        "nvmlDeviceGetUUID": "GPU-1111",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * GIB, free=79 * GIB),
        "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetEccMode": [1, 1],
        "nvmlDeviceGetMigMode": [0, 0],
        "nvmlDeviceGetMaxMigDeviceCount": 7,
        "nvmlDeviceGetMigDeviceHandleByIndex": NvmlError("Not Found"),
    } | changed

    def answering(answer: object) -> Callable[..., object]:
        def call(*_: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    return SimpleNamespace(
        NVMLError=NvmlError, **{name: answering(answer) for name, answer in answers.items()}
    )


def test_a_gpu_as_nvml_tells_of_it() -> None:
    found = nvml.read(nvml_module())
    assert found.driver == "580.159.04"
    assert found.cuda == (13, 0)
    assert found.problem is None
    name = "NVIDIA H100 80GB HBM3"
    assert found.gpus == (Gpu(name, "GPU-1111", (9, 0), 80 * GIB, 79 * GIB, True, False),)


def test_what_a_gpu_does_not_tell_is_left_open() -> None:
    silent = NvmlError("Not Supported")
    module = nvml_module(nvmlDeviceGetEccMode=silent, nvmlDeviceGetMigMode=silent)
    [gpu] = nvml.read(module).gpus
    assert (gpu.ecc, gpu.mig) == (None, None)


def test_a_gpu_in_slices_is_its_slices() -> None:
    module = nvml_module(
        nvmlDeviceGetMigMode=[1, 1],
        nvmlDeviceGetMaxMigDeviceCount=2,
        nvmlDeviceGetMigDeviceHandleByIndex="slice",
        nvmlDeviceGetMemoryInfo=SimpleNamespace(total=10 * GIB, free=9 * GIB),
    )
    found = nvml.read(module).gpus
    assert [(gpu.mig, gpu.total_nbytes) for gpu in found] == [(True, 10 * GIB)] * 2


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"nvmlInit": NvmlError("Driver Not Loaded")}, "Driver Not Loaded"),
        ({"nvmlDeviceGetCount": 0}, "shows no GPU"),
        ({"nvmlDeviceGetMemoryInfo": NvmlError("GPU is lost")}, "GPU is lost"),
    ],
)
def test_a_driver_without_gpus_says_why(changed: dict[str, object], words: str) -> None:
    found = nvml.read(nvml_module(**changed))
    assert found.gpus == ()
    assert words in (found.problem or "")


def test_the_calls_are_those_that_nvml_has() -> None:
    real = pytest.importorskip("pynvml")
    tree = ast.parse(Path(nvml.__file__).read_text(encoding="utf-8"))
    called = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "nvml"
    }
    assert len(called) > 10
    assert not [name for name in called if not hasattr(real, name)]


def test_this_machine() -> None:
    facts = gather(None)
    assert facts.software[Part.ONNX_RUNTIME].version == version("onnxruntime")
    assert "CPUExecutionProvider" in facts.software[Part.ONNX_RUNTIME].offers
    assert facts.software[Part.AV].offers == ("libx264",)
    assert bool(facts.gpus.gpus) == (facts.gpus.problem is None)
    assert 0 < facts.host.available_nbytes <= facts.host.memory_nbytes
    assert facts.host.cores == len(os.sched_getaffinity(0))


@pytest.mark.gpu
def test_the_gpu_of_this_machine() -> None:
    found = gather(None).gpus
    if not found.gpus:
        pytest.skip(f"no GPU: {found.problem}")
    gpu = found.gpus[0]
    assert gpu.compute_capability is not None
    assert gpu.compute_capability >= (7, 0)
    assert 0 < gpu.free_nbytes <= gpu.total_nbytes
    assert found.driver
    assert found.cuda is not None


def test_a_probe_that_breaks_its_process_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, body in {
        "crashing": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "hanging": "import time; time.sleep(60)",
        "raising": "raise ImportError('libcuda.so.1: cannot open\\nshared object file')",
        "talking": "print('a banner'); return Software('1.0')",
    }.items():
        lines = ["from wan_trt.doctor.facts import Software", "def probe():", f"    {body}"]
        (tmp_path / f"{name}_probe.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    names = ("crashing", "hanging", "raising", "talking", "absent")
    found = ask({name: f"{name}_probe" for name in names}, timeout_s=5)
    assert found["crashing"] == "it was killed by signal 11"
    assert found["hanging"] == "it did not answer in time"
    assert found["raising"] == "shared object file"
    assert found["talking"] == {
        "version": "1.0",
        "problem": None,
        "offers": [],
        "withheld": None,
    }
    assert "absent_probe" in str(found["absent"])


def test_memory_in_the_words_of_the_kernel() -> None:
    assert available_nbytes("MemTotal: 9 kB\nMemAvailable:    7 kB\n") == 7 * 1024
    assert available_nbytes(None) is None
    assert left_of_limit("max\n", "5\n") is None
    assert left_of_limit("100\n", "30\n") == 70
    assert left_of_limit("100\n", "130\n") == 0


def test_room_on_a_disk_is_that_of_the_nearest_folder(tmp_path: Path) -> None:
    found = disk(tmp_path / "not" / "there")
    assert found is not None
    assert found.folder == str(tmp_path)
    assert found.free_nbytes > 0
