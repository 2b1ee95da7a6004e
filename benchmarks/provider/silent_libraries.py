"""CUDA, cuBLAS and cuDNN that do nothing and write down what they are asked: with them the genuine
CUDA provider of onnxruntime-gpu runs on a machine without a GPU, all but its kernels."""

from __future__ import annotations

import mmap
import os
import re
import subprocess
from collections import defaultdict
from pathlib import Path

SOURCES = Path(__file__).parent
ROOT = SOURCES.parents[1]
PROVIDER = ROOT / "build" / "onnxruntime-gpu"
"""Where `make test` puts onnxruntime-gpu."""
_LINKED = {"libcudart": "cudart.c", "libcublas": "cublas.c", "libcublasLt": "cublasLt.c"}
_UNVERSIONED = {"libcuda.so.1": {"cuTensorMapEncodeTiled"}, "libcurand.so.10": {"curandCreate"}}
_OPTIONS = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]


def is_installed() -> bool:
    return (PROVIDER / "onnxruntime").is_dir()


def build(folder: Path) -> None:
    """Make the libraries that onnxruntime-gpu's provider takes functions from.

    A function that the sources do not have returns 0, which is success.
    """
    provider = PROVIDER / "onnxruntime" / "capi" / "libonnxruntime_providers_cuda.so"
    for library, names in _linked(provider).items():
        source = _LINKED.get(library.split(".so")[0])
        _compile(source, names, folder / library, f"{library} {{ global: *; }};")
    _compile("cudnn.c", _looked_up(provider), folder / "libcudnn.so.9")
    for library, names in _UNVERSIONED.items():
        _compile(None, names, folder / library)


def environment(libraries: Path, **more: str) -> dict[str, str]:
    """Of a Python process with onnxruntime-gpu in the place of onnxruntime, over the `libraries`
    that `build` made, and with all modules of tests and benchmarks."""
    paths = (PROVIDER, ROOT / "tests" / ".path", ROOT / "tests", ROOT / "benchmarks")
    own = {
        "CUDA_CALLS": str(libraries / "calls"),
        "LD_LIBRARY_PATH": str(libraries),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
    return {**os.environ, **own, **more}


def _linked(provider: Path) -> dict[str, set[str]]:
    """Functions by the library of CUDA's that they are taken from: their symbols carry its name."""
    listed = subprocess.run(
        ["nm", "--dynamic", "--undefined-only", str(provider)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: defaultdict[str, set[str]] = defaultdict(set)
    for symbol in (line.split()[-1] for line in listed.splitlines()):
        name, _, library = symbol.partition("@")
        if library.startswith("libcu"):
            found[library].add(name)
    return dict(found)


def _looked_up(provider: Path) -> set[str]:
    """Functions of cuDNN, which is loaded when it is needed: their names are texts there."""
    with (
        provider.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return {name.decode() for name in re.findall(rb"\0(cudnn[A-Z]\w+)(?=\0)", content)}


def _compile(source: str | None, names: set[str], library: Path, versions: str = "") -> None:
    written = (SOURCES / source).read_text(encoding="utf-8") if source else ""
    text = f'#include "{SOURCES / source}"\n' if source else ""
    for name in sorted(names):
        if f"{name}(" not in written and f"PRODUCT({name})" not in written:
            text += f"int {name}(void) {{ return 0; }}\n"
    unit, script = library.with_suffix(".c"), library.with_suffix(".map")
    unit.write_text(text, encoding="utf-8")
    options = [*_OPTIONS, f"-Wl,-soname,{library.name}"]
    if versions:
        script.write_text(versions, encoding="utf-8")
        options.append(f"-Wl,--version-script,{script}")
    subprocess.run(["gcc", *options, "-o", library, unit], check=True, timeout=60)
