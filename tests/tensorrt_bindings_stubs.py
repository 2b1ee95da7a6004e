"""TensorRT's own Python bindings on a machine without TensorRT: imported, and made into stubs.

`tensorrt-cu13-bindings` has the genuine extension module. It wants three native libraries, of which
nine symbols; a stub of those, compiled here, lets it be imported, and every class, enum and
signature is there to be looked at.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "trt" / "nine_symbols.c"
LIBRARIES = ("libnvinfer.so.11", "libnvonnxparser.so.11", "libnvinfer_plugin.so.11")
BINDINGS = "tensorrt_bindings"
TIMEOUT_S = 120


def reason_to_skip() -> str | None:
    """Why the bindings cannot be used here."""
    if shutil.which("gcc") is None:
        return "there is no gcc to compile a stub of TensorRT's libraries"
    for module in (BINDINGS, "pybind11_stubgen"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed (extra dev, on Linux)"
    return None


def compile_libraries(folder: Path) -> None:
    """The native libraries that the bindings load, in `folder`."""
    for name in LIBRARIES:
        subprocess.run(
            ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, SOURCE],
            check=True,
            timeout=TIMEOUT_S,
        )


def run_with_bindings(libraries: Path, *words: str) -> str:
    """What a Python process with the bindings prints."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    result = subprocess.run(
        [sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def write_stubs(libraries: Path, folder: Path) -> None:
    """Stubs of the bindings as the package `tensorrt` in `folder`."""
    made = folder / "made"
    run_with_bindings(libraries, "-m", "pybind11_stubgen", BINDINGS, "-o", str(made))
    (folder / "tensorrt").mkdir()
    for file in (made / BINDINGS).glob("*.pyi"):
        text = file.read_text(encoding="utf-8").replace(BINDINGS, "tensorrt")
        (folder / "tensorrt" / file.name).write_text(_repaired(text), encoding="utf-8")


def _repaired(text: str) -> str:
    """What the bindings say that Python does not: a parameter named `in`, one without a default
    after one that has it, and results of the type bool where the module has a variable `bool`."""
    text = re.sub(r"\bin: ", "in_: ", text)
    text = re.sub(r"(-> |: )bool\b", r"\1builtins.bool", text)
    text = text.replace("import typing\n", "import builtins\nimport typing\n", 1)
    return re.sub(r"(def \w+\([^\n]* = None, )(\w+: [\w.]+)(\))", r"\1\2 = ...\3", text)
