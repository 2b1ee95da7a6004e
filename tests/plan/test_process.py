"""Jobs in processes of their own, with the real ones that need no GPU."""

from __future__ import annotations

import importlib.util
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planned import target
from safetensors.numpy import load_file, save_file

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError, ExecutionError, InputError, ResourceError
from wan_trt.engine.executor import run
from wan_trt.engine.ort import load_executor
from wan_trt.plan.build import build
from wan_trt.plan.jobs import BuildOptions, Done, ProbeJob, ReferenceJob, Toolchain
from wan_trt.plan.parity import parity_inputs
from wan_trt.plan.process import run_job
from wan_trt.plan.refittable import exchanged_weights, lora_targets
from wan_trt.plan.version import require_version

REFERENCE = "wan_trt.plan.reference"


@pytest.fixture(autouse=True)
def _our_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes import what this one does."""
    path = str(Path(__file__).resolve().parents[1] / ".path")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([path, os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def job(tiny_bundle: Bundle, tmp_path: Path) -> ReferenceJob:
    """A small graph, which LoRAs did not change."""
    return reference_job(tiny_bundle, "segment_context", "", tmp_path)


def reference_job(bundle: Bundle, graph: str, weight_set: str, folder: Path) -> ReferenceJob:
    engine = target(bundle, graph, weight_set)
    inputs = folder / "inputs.safetensors"
    specs = bundle.manifest.graphs[graph].inputs
    save_file(parity_inputs(engine, specs, bundle.manifest.geometry, 0), inputs)
    return ReferenceJob(
        bundle=str(bundle.path),
        graph=graph,
        weight_set=engine.weight_set,
        sizes=engine.best,
        inputs=str(inputs),
        outputs=str(folder / "outputs.safetensors"),
        threads=1,
    )


def test_a_job_leaves_its_files_and_tells_where_it_is(
    tiny_bundle: Bundle, job: ReferenceJob, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    run_job(REFERENCE, job, Done, tmp_path / "log", lambda *words: told.append(words))
    assert told == [("reference on ONNX Runtime", done, 1) for done in (0, 1)]
    executor = load_executor(tiny_bundle, job.graph, job.weight_set)
    expected = run(executor, job.sizes, **load_file(job.inputs))
    np.testing.assert_allclose(load_file(job.outputs)["tokens"], expected["tokens"], atol=1e-5)


def test_exchanged_weights_are_used(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """What a refit is tried with: the matrices that LoRAs changed, upside down."""
    engine = target(tiny_bundle, "denoiser", "high")
    names = lora_targets(tiny_bundle, engine)
    assert "blocks.0.self_attn.q.weight" in names  # of the high stack
    assert "blocks.0.self_attn.o.weight" in names  # of the low one: it must fit in as well
    job = reference_job(tiny_bundle, "denoiser", "high", tmp_path)
    files = exchanged_weights(tiny_bundle, engine, names, tmp_path)
    assert files.keys() == set(names)
    results = []
    for exchanged in ({}, files):
        changed = replace(job, exchanged=exchanged)
        run_job(REFERENCE, changed, Done, tmp_path / "log", lambda *_: None)
        results.append(load_file(job.outputs)["velocity"])
    assert np.abs(results[0] - results[1]).max() > 1e-3
    tensor = tiny_bundle.manifest.graphs["denoiser"].weights["high"][names[0]]
    before = np.fromfile(tiny_bundle.weights_folder / tensor.sha256, np.float32)
    after = np.fromfile(files[names[0]], np.float32)
    np.testing.assert_array_equal(after.reshape(tensor.shape), before.reshape(tensor.shape)[::-1])


def test_errors_cross_with_their_type(job: ReferenceJob, tmp_path: Path) -> None:
    missing = replace(job, bundle=str(tmp_path / "nowhere"))
    with pytest.raises(BundleError, match="has no manifest") as error:
        run_job(REFERENCE, missing, Done, tmp_path / "log", lambda *_: None)
    assert error.value.action == "check the path"


def test_a_process_that_dies_says_how(job: ReferenceJob, tmp_path: Path) -> None:
    broken = replace(job, weight_set="nothing")
    with pytest.raises(ExecutionError, match=r"ended with 1 .*KeyError: 'nothing'"):
        run_job(REFERENCE, broken, Done, tmp_path / "log", lambda *_: None)
    with pytest.raises(ExecutionError, match=r"No module named wan_trt\.plan\.nothing"):
        run_job("wan_trt.plan.nothing", job, Done, tmp_path / "log", lambda *_: None)


def test_one_that_the_system_killed_lacked_memory(job: ReferenceJob, tmp_path: Path) -> None:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")

    def kill(*_: object) -> None:
        os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)

    with pytest.raises(ResourceError, match=r"wan_trt\.plan\.reference was killed"):
        run_job(REFERENCE, job, Done, tmp_path / "log", kill)


@pytest.mark.skipif(bool(importlib.util.find_spec("tensorrt")), reason="TensorRT is here")
def test_without_tensorrt_a_build_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"TensorRT cannot be used here .*--dry-run"):
        run_job("wan_trt.plan.probe", ProbeJob(), Toolchain, tmp_path / "log", lambda *_: None)


def test_pinning_needs_a_level_that_heeds_timings(tiny_bundle: Bundle) -> None:
    """Level 0 "will also not respect a timing cache" (IBuilderConfig's documentation)."""
    with pytest.raises(InputError, match="optimization level 0") as error:
        build(tiny_bundle, [], BuildOptions(pinned=True, optimization_level=0))
    assert error.value.field == "pinned"


@pytest.mark.parametrize("version", ["11.3.1.2", "10.16.1", "8.6", "", "nightly"])
def test_an_older_tensorrt_is_refused(version: str) -> None:
    with pytest.raises(InputError, match=r"expected 11\.4 or later"):
        require_version(version)


@pytest.mark.parametrize("version", ["11.4.0.106", "11.10.0", "12.0"])
def test_a_newer_one_is_not(version: str) -> None:
    require_version(version)
