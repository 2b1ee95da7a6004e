"""Our TensorRT code against the genuine 11.4 API, without a GPU."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import fake_tensorrt
import pytest
from tensorrt_bindings_stubs import (
    TIMEOUT_S,
    compile_libraries,
    reason_to_skip,
    run_with_bindings,
    write_stubs,
)

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "tests" / ".path"
FOLDERS = ("engine", "plan", "server", "cli")

_LIST_API = """
import json, tensorrt_bindings as trt
api = {name: sorted(vars(value)) if isinstance(value, type) else None
       for name, value in vars(trt).items()}
for name, value in vars(trt).items():
    for base in value.__mro__[1:] if isinstance(value, type) else ():
        api[name] = sorted({*api[name], *vars(base)})
    for inner in vars(value).values() if isinstance(value, type) else ():
        if isinstance(inner, type):
            api[f"{name}.{inner.__name__}"] = sorted(vars(inner))
print(json.dumps({"version": trt.__version__, "api": api}))
"""


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := reason_to_skip():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("libraries")
    compile_libraries(folder)
    return folder


@pytest.fixture(scope="session")
def stubs(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stubs")
    write_stubs(libraries, folder)
    return folder


@pytest.fixture(scope="session")
def api(libraries: Path) -> Mapping[str, list[str] | None]:
    """Every name of the module, and of a class its members."""
    told = json.loads(run_with_bindings(libraries, "-c", _LIST_API))
    assert told["version"].startswith("11.4.")
    members: Mapping[str, list[str] | None] = told["api"]
    return members


def tensorrt_modules() -> Iterator[Path]:
    """Our files that import tensorrt anywhere."""
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            imported = {
                alias.name
                for node in ast.walk(tree)
                if isinstance(node, ast.Import)
                for alias in node.names
            }
            if "tensorrt" in imported:
                yield file


def used_names(source: str) -> set[str]:
    """What a file uses by name of `tensorrt`, imported as `trt`: "Builder", "BuilderFlag.REFIT"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id == "trt":
            found.add(".".join(parts))
    return found


def unknown_names(names: set[str], api: Mapping[str, list[str] | None]) -> set[str]:
    """Those that TensorRT does not have."""
    return {name for name in names if not _is_known(name, api)}


def _is_known(name: str, api: Mapping[str, list[str] | None]) -> bool:
    if name in api:
        return True
    owner, _, member = name.rpartition(".")
    return member in (api.get(owner) or [])


def check_types(stubs: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """mypy --strict, with TensorRT's stubs and nothing excused."""
    settings = folder / "mypy.ini"
    settings.write_text(
        f"[mypy]\nstrict = true\nmypy_path = {stubs}:{PATH}\nfollow_imports = silent\n"
        f"namespace_packages = true\nexplicit_package_bases = true\n"
        f"cache_dir = {folder / 'cache'}\n"
        "[mypy-cuda.*]\nignore_missing_imports = true\n"
        "[mypy-tensorrt.*]\nignore_errors = true\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(settings), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        timeout=TIMEOUT_S,
    )


def test_every_call_fits_the_real_signatures(stubs: Path, tmp_path: Path) -> None:
    modules = [
        "wan_trt." + ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in tensorrt_modules()
    ]
    assert len(modules) > 4
    result = check_types(stubs, tmp_path, *(word for module in modules for word in ("-m", module)))
    assert result.returncode == 0, result.stdout


def test_a_call_that_is_wrong_is_found(stubs: Path, tmp_path: Path) -> None:
    """The stubs are there and say something: else the test above would pass whatever we call."""
    file = tmp_path / "wrong.py"
    file.write_text(
        "import tensorrt as trt\n"
        "def f(config: trt.IBuilderConfig, engine: trt.ICudaEngine) -> str:\n"
        "    config.set_flag(trt.BuilderFlag.FP16)\n"
        "    config.set_memory_pool_limit(1 << 30)\n"
        "    return engine.device_memory_size_v2\n"
        "def g(network: trt.INetworkDefinition) -> str:\n"
        "    return network.mark_weights_refittable('x')\n"
    )
    result = check_types(stubs, tmp_path, str(file))
    for fault in (
        'has no attribute "FP16"',
        'Missing positional argument "pool_size"',
        'got "int", expected "str"',
        'got "bool", expected "str"',
    ):
        assert fault in result.stdout


def test_every_name_that_we_use_exists(api: Mapping[str, list[str] | None]) -> None:
    used = {file: used_names(file.read_text(encoding="utf-8")) for file in tensorrt_modules()}
    assert "BuilderFlag.STRIP_PLAN" in set().union(*used.values())
    for file, names in used.items():
        assert unknown_names(names, api) == set(), file


def test_names_that_do_not_exist_are_found(api: Mapping[str, list[str] | None]) -> None:
    source = "import tensorrt as trt\nconfig.set_flag(trt.BuilderFlag.FP16)\ntrt.int8\ntrt.Buildr()"
    names = used_names(source)
    assert names == {"BuilderFlag", "BuilderFlag.FP16", "int8", "Buildr"}
    assert unknown_names(names, api) == {"BuilderFlag.FP16", "Buildr"}


def test_the_made_up_tensorrt_has_only_what_the_genuine_one_has(
    api: Mapping[str, list[str] | None],
) -> None:
    """The tests of executors run on it: a call that only it knows would prove nothing."""
    made_up = {
        f"{kind.__name__}.{name}"
        for kind in vars(fake_tensorrt).values()
        if isinstance(kind, type) and kind.__module__ == fake_tensorrt.__name__
        for name in vars(kind)
        if not name.startswith("_")
    } - OF_THE_TEST
    assert "IExecutionContext.execute_async_v3" in made_up
    assert unknown_names(made_up, api) == set()


OF_THE_TEST = {"Runtime.cuda", "Runtime.first_logger", "ICudaEngine.session", "ICudaEngine.types"}
