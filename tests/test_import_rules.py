"""Which package may import which (docs/architecture.md), and what the runtime must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ALLOWED = {
    "engine": set(),
    "media": {"engine"},
    "preprocess": {"engine", "media"},
    "export": {"engine", "media"},
    "calibration": {"engine", "media", "export"},
    "doctor": {"engine"},
    "plan": {"engine", "media"},
    "server": {"engine", "media", "preprocess"},
    "cli": {"engine", "media", "preprocess", "export", "calibration", "doctor", "plan", "server"},
}


def _imports(file: Path) -> set[str]:
    """Top names of what a file imports; `wan_trt.X` for our own packages."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            parts = module.split(".")
            found.add(".".join(parts[:2]) if parts[0] == "wan_trt" else parts[0])
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        ours = {name.split(".")[1] for name in _imports(file) if name.startswith("wan_trt.")}
        assert ours <= ALLOWED[package] | {package}, file


@pytest.mark.parametrize("package", sorted(set(ALLOWED) - {"export", "calibration"}))
def test_only_export_and_calibration_import_torch(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert not _imports(file) & {"torch", "onnxscript"}, file


@pytest.mark.parametrize("package", ALLOWED)
def test_only_folders_of_that_name_import_tensorrt(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        assert file.parent.name == "tensorrt" or "tensorrt" not in _imports(file), file


@pytest.mark.parametrize(
    "module",
    [
        *("engine", "engine.capture", "engine.cuda.step", "engine.cuda.opening"),
        *("media", "preprocess", "server"),
        *("cli.main", "calibration.gate.gate", "calibration.report.page"),
        *("doctor.gather", "doctor.report"),
        *("plan.build", "plan.dry_run"),
    ],
)
def test_importing_the_runtime_loads_no_torch_tensorrt_or_cuda(module: str) -> None:
    code = (
        f"import wan_trt.{module}, sys;"
        "print(sorted({'torch', 'tensorrt', 'cuda'} & set(sys.modules)))"
    )
    path = f"{ROOT / 'tests' / '.path'}"
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert result.stdout.strip() == "[]"
