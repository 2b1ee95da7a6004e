"""The genuine CUDA provider of onnxruntime-gpu, without a GPU: over CUDA, cuBLAS and cuDNN that do
nothing and write down what they are asked (`provider.silent_libraries`). All of it runs but the
kernels: where nodes are placed, what is allocated, copied and waited for, on which streams."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from provider import silent_libraries

from wan_trt.engine.bundle import Bundle

TESTS = Path(__file__).resolve().parents[1]
STREAM = "0x7700"
MOVES = ("copy host", "copy device to host", "wait")
"""What a run in steady state has none of."""

pytest.importorskip("cuda.bindings.driver", reason="needs cuda-bindings (extra `cuda`)")
if not silent_libraries.is_installed():
    pytest.skip("needs onnxruntime-gpu in build/, as make test puts it", allow_module_level=True)
if shutil.which("gcc") is None or shutil.which("nm") is None:
    pytest.skip("needs gcc and nm", allow_module_level=True)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("silent")
    silent_libraries.build(folder)
    return folder


def python(*arguments: str, libraries: Path, timeout_s: float = 300) -> str:
    """What a Python with onnxruntime-gpu prints, or the error that it ends with."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=silent_libraries.environment(libraries),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.fixture(scope="module")
def facts(
    libraries: Path, tiny_bundle: Bundle, fp8_bundle: Bundle, i2v_bundle: Bundle
) -> dict[str, Any]:
    """By name of the bundle: its graphs, and a job."""
    bundles = {"fp32": tiny_bundle, "fp8": fp8_bundle, "i2v": i2v_bundle}
    paths = [str(bundle.path) for bundle in bundles.values()]
    printed = python(str(TESTS / "provider_facts.py"), *paths, libraries=libraries)
    try:
        found = json.loads(printed)["bundles"]
    except json.JSONDecodeError:
        pytest.fail(printed)
    return {name: found[str(bundle.path)] for name, bundle in bundles.items()}


BUNDLES = ["fp32", "fp8", "i2v"]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_every_node_that_computes_is_on_the_gpu(facts: dict[str, Any], bundle: str) -> None:
    """What is not makes loading an error; arithmetic about sizes stays on the CPU."""
    for name, graph in facts[bundle]["graphs"].items():
        operators = Counter(graph["operators"])
        on_cpu = {key.split()[0] for key in operators if key.endswith("CPUExecutionProvider")}
        assert on_cpu <= {"Squeeze", "Reshape", "Concat", "Mul", "Add", "Div", "Slice"}, name
        assert sum(n for key, n in operators.items() if key.endswith("CUDAExecutionProvider")) > 4


@pytest.mark.parametrize("bundle", BUNDLES)
def test_weights_take_as_much_memory_as_their_files(facts: dict[str, Any], bundle: str) -> None:
    """E4M3 and bfloat16 are not widened when a graph is loaded."""
    for name, graph in facts[bundle]["graphs"].items():
        assert graph["held_nbytes"] == pytest.approx(graph["stored_nbytes"], rel=0.05), name


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_load_waits_for_the_whole_gpu(facts: dict[str, Any], bundle: str) -> None:
    """So nothing may be captured meanwhile (engine/cuda/capture_gate.py)."""
    for name, graph in facts[bundle]["graphs"].items():
        assert "wait device" in graph["load_waits"], name
        for run in graph["runs"]:  # the first as well
            assert "wait device" not in run, name


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_run_stays_on_our_stream_and_neither_copies_nor_waits(
    facts: dict[str, Any], bundle: str
) -> None:
    for name, graph in facts[bundle]["graphs"].items():
        warm = graph["runs"][-1]
        assert not [call for call in warm if call.startswith(MOVES)], name
        assert {call.split()[-1] for call in warm if " stream " in call} == {STREAM}, name
        assert any(call.startswith("launch") for call in warm), name


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_warm_denoiser_allocates_nothing_and_others_give_back_what_they_took(
    facts: dict[str, Any], bundle: str
) -> None:
    for name, graph in facts[bundle]["graphs"].items():
        warm = [call.split() for call in graph["runs"][-1]]
        taken = Counter(call[1] for call in warm if call[0] == "allocate")
        assert taken == Counter(call[1] for call in warm if call[0] == "free"), name
        assert bool(taken) == (name != "denoiser"), name


def test_what_is_stored_narrow_is_multiplied_in_bfloat16_by_flash_attention(
    facts: dict[str, Any],
) -> None:
    wide, narrow = (facts[name]["graphs"]["denoiser"]["runs"][-1] for name in ("fp32", "fp8"))
    products = Counter(call.split()[1] for call in narrow if call.startswith("product"))
    assert products["cublasSgemm_v2"] == 3, "those of the timestep"
    assert products["cublasGemmEx"] > 30
    assert any("flash_fwd_kernel" in call for call in narrow)
    assert not any("flash_fwd_kernel" in call or "GemmEx" in call for call in wide)
    assert not any("oftmax" in call for call in wide), "scores are written to memory"


def test_matrices_are_widened_when_they_are_needed(facts: dict[str, Any]) -> None:
    """Never two of them before a product: all at once would be the model in bfloat16."""
    waiting = 0
    for call in facts["fp8"]["graphs"]["denoiser"]["runs"][-1]:
        waiting += "DequantizeLinearKernelAxis" in call
        waiting -= "GemmEx" in call and waiting > 0
        assert waiting < 2


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_whole_job_runs_on_its_lanes_streams(facts: dict[str, Any], bundle: str) -> None:
    """Memory, solver's kernel and streams are the made-up driver's; an expert's first two steps
    warm it up."""
    job = facts[bundle]["job"]
    assert job["frames"] == [9, 32, 48, 3]
    lanes = {hex(stream) for stream in job["streams"]}
    steps = job["steps"]
    for calls in steps[-2:]:
        assert any(call.startswith("launch") for call in calls)
        assert not [call for call in calls if call.startswith((*MOVES, "allocate", "free"))]
        assert {call.split()[-1] for call in calls if " stream " in call} <= lanes


def test_a_gpu_without_room_is_a_resource_error_and_what_is_loaded_goes_on(
    facts: dict[str, Any],
) -> None:
    for name in BUNDLES:
        ends = facts[name]["without_room"]
        assert ends["loading"].startswith("ResourceError: out of memory loading"), ends
        assert ends["running"].startswith("ResourceError: out of memory running denoiser"), ends
        assert ends["again"] == "done"


TRY = "from wan_trt.engine.ort_cuda import try_provider; try_provider(0)"


def test_a_library_that_is_missing_is_named(libraries: Path, tmp_path: Path) -> None:
    assert python("-c", TRY, libraries=libraries) == ""
    for missing, said in (
        ("libcudnn.so.9", "cuDNN does not load (libcudnn.so.9: cannot open shared object file"),
        ("libcublasLt.so.13", "cannot start its CUDA provider: libcublasLt.so.13: cannot open"),
    ):
        rest = tmp_path / missing
        shutil.copytree(libraries, rest)
        (rest / missing).unlink()
        error = python("-c", TRY, libraries=rest)
        assert "ResourceError" in error
        assert said in error
        assert "pip install 'onnxruntime-gpu[cuda,cudnn]'" in error


PROBE = "from wan_trt.doctor.probes.onnx_runtime import probe; print(probe())"


def test_the_doctor_offers_the_provider_only_where_it_loads(
    libraries: Path, tmp_path: Path
) -> None:
    assert "'CUDAExecutionProvider'" in python("-c", PROBE, libraries=libraries)
    rest = tmp_path / "rest"
    shutil.copytree(libraries, rest)
    (rest / "libcurand.so.10").unlink()
    found = python("-c", PROBE, libraries=rest)
    assert "'CUDAExecutionProvider'," not in found
    assert "withheld='CUDAExecutionProvider: libcurand.so.10: cannot open" in found


def test_nothing_is_printed(libraries: Path) -> None:
    """ONNX Runtime warns of each session by default that its provider comes as no plugin."""
    done = "import os; os.dup2(1, 2); " + TRY
    assert python("-c", done, libraries=libraries) == ""
