"""NVRTC, which needs no GPU, compiles the kernels; their arguments and structs are as declared."""

from __future__ import annotations

import ctypes
import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from host_kernels import compile_for_host, load_host_kernel

from wan_trt.engine.cuda.nvrtc import PHILOX_NORMAL, SOLVER_UPDATE, KernelSource, compile_cubin
from wan_trt.engine.cuda.step_block import NUMBERS
from wan_trt.engine.errors import ExecutionError, ResourceError

KERNELS = pytest.mark.parametrize("source", [PHILOX_NORMAL, SOLVER_UPDATE], ids=lambda s: s.name)


@pytest.fixture(scope="session")
def nvrtc() -> None:
    for module in ("cuda.core", "nvidia.cu13"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            pytest.skip("no NVRTC: pip install 'wan-trt[cuda]'")


@KERNELS
@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90", "sm_90a", "sm_120"])
@pytest.mark.usefixtures("nvrtc")
def test_nvrtc_compiles(source: KernelSource, architecture: str) -> None:
    cubin = compile_cubin(source, architecture)
    assert cubin.startswith(b"\x7fELF")
    assert source.name.encode() in cubin


@pytest.mark.usefixtures("nvrtc")
def test_what_does_not_compile_is_quoted() -> None:
    broken = dataclasses.replace(SOLVER_UPDATE, text=SOLVER_UPDATE.text.replace("x +=", "y +="))
    with pytest.raises(ExecutionError, match=r"solver_update .*identifier \"y\" is undefined"):
        compile_cubin(broken, "sm_90")


class MadeUpCore(ModuleType):
    """cuda-core, as far as kernels need it: a "cubin" says of what and for whom it is."""

    ProgramOptions = dict

    class Program:
        def __init__(self, text: str, language: str, options: dict[str, Any]) -> None:
            self.code = f"{language} {text} for {options['arch']}".encode()

        def compile(self, _kind: str) -> MadeUpCore.Program:
            return self


def test_older_releases_have_the_compiler_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cuda.core` is there, and empty."""
    source = KernelSource("twice", "twice", (), fused=False)
    core = ModuleType("cuda.core")
    monkeypatch.setattr(core, "__version__", "0.4.2", raising=False)
    monkeypatch.setitem(sys.modules, "cuda.core", core)
    monkeypatch.setitem(sys.modules, "cuda.core.experimental", None)
    with pytest.raises(ResourceError, match=r"cuda-core 0\.4\.2 has no Program"):
        compile_cubin(source, "sm_90")
    experimental = MadeUpCore("cuda.core.experimental")
    monkeypatch.setitem(sys.modules, "cuda.core.experimental", experimental)
    assert compile_cubin(source, "sm_90") == b"c++ twice for sm_90"


def test_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda.core", "cuda.core.experimental"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ResourceError, match="cuda-core is not installed"):
        compile_cubin(KernelSource("once", "", (), fused=False), "sm_90")


@KERNELS
def test_arguments_are_as_large_as_declared(source: KernelSource, host_folder: Path) -> None:
    kernel = load_host_kernel(compile_for_host(source, host_folder))
    assert kernel.argument_nbytes == tuple(map(ctypes.sizeof, source.argument_types))


def test_the_steps_numbers_lie_as_declared(host_folder: Path) -> None:
    """offsetof each field in C++ against numpy's."""
    assert NUMBERS.fields is not None
    checks = [f"sizeof(StepNumbers) == {NUMBERS.itemsize}"]
    for name, (_, offset, *_) in NUMBERS.fields.items():
        checks.append(f"offsetof(StepNumbers, {name}) == {offset}")
    text = "\n".join(f'static_assert({check}, "{check}");' for check in checks)
    source = dataclasses.replace(SOLVER_UPDATE, text=SOLVER_UPDATE.text + text)
    folder = host_folder / "offsets"
    folder.mkdir()
    try:
        compile_for_host(source, folder)
    except subprocess.CalledProcessError:
        pytest.fail("StepNumbers and NUMBERS differ: see the compiler's message")
