"""The process that builds one engine, on the made-up TensorRT in the place of the module."""

from __future__ import annotations

import mmap
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_tensorrt
import fake_tensorrt_build
import numpy as np
import onnx
import pytest
from executor_rigs import floats, write_graph
from fake_cuda import FakeCuda
from safetensors.numpy import load_file, save_file
from small_plans import small_job

from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.errors import BundleError, ExecutionError, InputError
from wan_trt.engine.executor import GraphSpec, TensorSpec
from wan_trt.plan.jobs import LAYERS, OUTPUTS, PLAN, TIMING_CACHE, BuildOptions, EngineJob

SIZES = {"rows": 3}
SPEC = GraphSpec(
    inputs=(TensorSpec("x", "float32", ("rows", 4)),),
    outputs=(TensorSpec("y", "float32", ("rows", 4)),),
)


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    cuda = FakeCuda()
    with fake_tensorrt.tensorrt_installed(cuda):
        yield cuda


@pytest.fixture
def job(tmp_path: Path) -> EngineJob:
    """y = 2 x"""
    return job_of("Mul", tmp_path)


def job_of(operator: str, folder: Path) -> EngineJob:
    text = f"g (float[r, 4] x) => (float[r, 4] y) {{ y = {operator} (x, w) }}"
    graph = write_graph(folder / f"{operator}.onnx", text, ("w", 4))
    np.array([2], np.float32).tofile(folder / f"{operator}.bin")
    return small_job(graph, folder, SPEC, SIZES, folder)


def make(job: EngineJob) -> list[tuple[str, int, int]]:
    """What it told."""
    from wan_trt.plan.tensorrt import engine_process

    told: list[tuple[str, int, int]] = []
    engine_process.make(job, lambda *words: told.append(words))
    return told


@pytest.mark.usefixtures("cuda")
def test_a_build_leaves_plan_layers_and_timings(job: EngineJob) -> None:
    told = make(job)
    assert told[0] == ("Building the engine", 0, 1)
    folder = Path(job.folder)
    for file in (PLAN, LAYERS, TIMING_CACHE):
        assert (folder / file).stat().st_size > 0


def test_it_is_tried_on_the_inputs(
    job: EngineJob, cuda: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wan_trt.plan.tensorrt import engine_process

    monkeypatch.setattr(engine_process, "Device", lambda: Device(bindings=cuda))
    save_file({"x": floats(3, 4)}, tmp_path / "inputs")
    told = make(replace(job, inputs=str(tmp_path / "inputs")))
    assert told[-1] == ("trial runs", 1, 1)
    np.testing.assert_array_equal(load_file(tmp_path / OUTPUTS)["y"], 2 * floats(3, 4))
    assert cuda.live == {}


@pytest.mark.usefixtures("cuda")
def test_the_plan_is_in_memory_once(job: EngineJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as large as the weights: what TensorRT has is gone when it is read from its file."""
    serialized: list[weakref.ref[Any]] = []
    build = fake_tensorrt_build.Builder.build_serialized_network
    read = fake_tensorrt.Runtime.deserialize_cuda_engine
    read_from: list[object] = []

    def built(*arguments: Any) -> Any:
        plan = build(*arguments)
        serialized.append(weakref.ref(plan))
        return plan

    def reading(runtime: fake_tensorrt.Runtime, plan: Any) -> Any:
        assert [memory() for memory in serialized] == [None]
        read_from.append(type(plan))
        return read(runtime, plan)

    monkeypatch.setattr(fake_tensorrt_build.Builder, "build_serialized_network", built)
    monkeypatch.setattr(fake_tensorrt.Runtime, "deserialize_cuda_engine", reading)
    make(job)
    assert read_from == [mmap.mmap]


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("timings", [b"timings of NVIDIA H100 PCIe", b"damaged"])
def test_timings_that_do_not_fit_are_begun_anew(
    job: EngineJob, tmp_path: Path, timings: bytes
) -> None:
    (tmp_path / "old").write_bytes(timings)
    foreign = replace(job, timing_cache=str(tmp_path / "old"))
    make(foreign)
    assert (tmp_path / TIMING_CACHE).read_bytes().startswith(b"timings of Fake H100 ")
    with pytest.raises(InputError, match="pinned: there is no timing cache of this GPU"):
        make(replace(foreign, options=BuildOptions(pinned=True)))


@pytest.mark.usefixtures("cuda")
def test_a_pinned_build_uses_the_timings_of_the_first(job: EngineJob, tmp_path: Path) -> None:
    make(job)
    first = (tmp_path / PLAN).read_bytes()
    kept = (tmp_path / TIMING_CACHE).rename(tmp_path / "kept")

    def pinned(job: EngineJob) -> EngineJob:
        return replace(job, timing_cache=str(kept), options=BuildOptions(pinned=True))

    make(pinned(job))
    assert (tmp_path / PLAN).read_bytes() == first
    with pytest.raises(ExecutionError, match="the timing cache may lack a tactic"):
        make(pinned(job_of("Add", tmp_path)))


@pytest.mark.usefixtures("cuda")
def test_a_node_without_an_importer_is_named(job: EngineJob, monkeypatch: Any) -> None:
    fault = fake_tensorrt_build.ParserError(
        onnx.helper.make_node("Mul", ["x"], ["y"], name="product"), "no\nway"
    )
    parser = fake_tensorrt_build.OnnxParser
    monkeypatch.setattr(parser, "parse_model_proto", lambda _: False)
    monkeypatch.setattr(parser, "num_errors", 1)
    monkeypatch.setattr(parser, "get_error", lambda *_: fault)
    with pytest.raises(BundleError, match=r"refuses node product \(Mul\): no way"):
        make(job)
