"""--device: where a job runs, and what is said where that cannot be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fake_tensorrt
import onnxruntime  # type: ignore[import-untyped]
import pytest
from fake_cuda import FakeCuda
from full_size_manifest import full_size_manifest
from planned_toy import plan_entry

from wan_trt.cli.main import main
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.cuda import opening
from wan_trt.engine.cuda.driver import Device
from wan_trt.engine.cuda.opening import (
    Need,
    Room,
    expected_residency,
    lanes_that_fit,
    needs_of_sizes,
    open_cuda,
    room_for_pages,
)
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.graph_run import GraphRun
from wan_trt.engine.lanes import APART, TOGETHER, Lane
from wan_trt.engine.manifest import Manifest
from wan_trt.engine.memory.footprint import VAE, VideoSize, footprint, weight_nbytes
from wan_trt.engine.memory.residency import RESERVE_NBYTES
from wan_trt.engine.models import ModelName
from wan_trt.engine.ort_cuda_libraries import CUDA
from wan_trt.engine.plan_entry import Gpu
from wan_trt.export.precision import Precision

needs_no_gpu = pytest.mark.skipif(
    CUDA in onnxruntime.get_available_providers() or Path("/dev/nvidiactl").exists(),
    reason="a GPU is here",
)


VAE_GRAPHS = tuple(itertools.chain(*VAE.values()))


@needs_no_gpu
def test_serve_says_what_a_gpu_would_need(
    tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tiny_bundle.path), "--device", "cuda"]) == 3
    error = capsys.readouterr().err
    assert error.startswith("wan-trt: error: --device: cuda, but ")
    assert "wan-trt doctor" in error


def test_threads_are_the_cpus(tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tiny_bundle.path), "--device", "cuda", "--threads", "2"]) == 2
    assert "--threads: 2 with --device cuda" in capsys.readouterr().err


def test_another_device_is_no_device(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["generate", "bundle", "--device", "tpu", "--reference", "r", "--out", "o.mp4"])
    assert "invalid choice: 'tpu'" in capsys.readouterr().err


@pytest.fixture
def cuda() -> Iterator[FakeCuda]:
    cuda = FakeCuda(nbytes=20 << 30)
    with fake_tensorrt.tensorrt_installed(cuda):
        yield cuda


@needs_no_gpu
def test_a_gpu_without_anything_that_runs_graphs(tiny_bundle: Bundle, cuda: FakeCuda) -> None:
    with pytest.raises(ResourceError, match=r"no CUDA provider here.*no TensorRT plans of vae_"):
        open_cuda(tiny_bundle, lambda: Device(bindings=cuda))
    assert cuda.live == {}


@needs_no_gpu
def test_plans_of_all_graphs_need_no_provider(
    tiny_bundle: Bundle, cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened then is another test's matter; nothing is refused."""
    sizes = {"height": 4, "width": 6}
    manifest = tiny_bundle.manifest
    plans = tuple(plan_entry(graph, sizes) for graph in manifest.graphs)
    bundle = replace(tiny_bundle, manifest=replace(manifest, plans=plans))
    opened: list[Device] = []
    made: dict[str, object] = {}

    def make(device: Device, _load: object, **options: object) -> None:
        opened.append(device)
        made.update(options)

    monkeypatch.setattr(opening, "CudaBackend", make)
    open_cuda(bundle, lambda: Device(bindings=cuda))
    assert len(opened) == 1
    require_served = made.pop("require_served")
    needed = footprint(manifest, VideoSize(480, 832, 77), {})
    weights_nbytes = sum(needed.experts.values()) + needed.shared
    assert made == {
        "lanes": APART,
        "experts_nbytes": None,
        "pages_nbytes": cuda.nbytes - RESERVE_NBYTES - weights_nbytes,
    }
    assert callable(require_served)
    require_served([GraphRun("vae_decoder_next", "shared", sizes)])
    with pytest.raises(
        ResourceError, match="no TensorRT plan serves vae_decoder_next at this size"
    ):
        require_served([GraphRun("vae_decoder_next", "shared", {**sizes, "width": 8})])
    elsewhere = tuple(replace(plan, gpu=Gpu("L40S", "8.9", "none")) for plan in plans)
    with pytest.raises(ResourceError, match="no CUDA provider here"):
        open_cuda(
            replace(bundle, manifest=replace(manifest, plans=elsewhere)),
            lambda: Device(bindings=cuda),
        )


@pytest.mark.parametrize(("gigabytes", "lanes"), [(141, APART), (84, TOGETHER)])
def test_two_lanes_where_both_fit(gigabytes: int, lanes: tuple[Lane, ...]) -> None:
    """An H200 and an H100, without plans."""
    manifest = full_size_manifest(ModelName.ANIMATE, Precision.FP8)
    assert lanes_that_fit(without_plans(manifest), gigabytes * 10**9) == lanes


H200_NBYTES = 141 * 10**9


def test_pages_are_what_weights_and_the_scratch_of_onnx_runtime_leave() -> None:
    """FP8, both experts at 1280x720. Plans have their scratch in pages."""
    manifest = full_size_manifest(ModelName.ANIMATE, Precision.FP8)
    rest = H200_NBYTES - RESERVE_NBYTES - engines_nbytes(manifest)
    residency, planned = expected_residency(without_plans(manifest), H200_NBYTES)
    needed = residency.footprint
    scratch = 2 * needed.denoising.scratch + needed.vae["VAE decoding"].scratch
    assert room_for_pages(residency, planned) == Room(rest - scratch, keeps_scratch=True)
    sizes = {"denoiser": {"rows": 45}, **{graph: {"height": 90} for graph in VAE_GRAPHS}}
    plans = [replace(plan_entry(graph, sizes[graph]), scratch_nbytes=10**9) for graph in sizes]
    needs = needs_of_sizes(manifest, plans, lambda: False)
    assert room_for_pages(*expected_residency(needs, H200_NBYTES)) == Room(rest, keeps_scratch=True)


@pytest.mark.parametrize(("gigabytes", "height"), [(84, 720), (49, 480)])
def test_scratch_is_given_back_between_steps_where_a_job_would_have_no_room(
    gigabytes: int, height: int
) -> None:
    """FP8 without plans: one expert at a time, on an H100 at 1280x720. 48 GB are just too few."""
    manifest = full_size_manifest(ModelName.ANIMATE, Precision.FP8)
    residency, planned = expected_residency(without_plans(manifest), gigabytes * 10**9)
    needed = residency.footprint
    assert needed.size.height == height
    assert residency.experts_nbytes
    room = room_for_pages(residency, planned)
    assert not room.keeps_scratch
    clip = needed.vae["VAE decoding"]
    assert room.pages_nbytes == residency.pages_nbytes - clip.scratch
    assert room.pages_nbytes > needed.job + clip.tensors


def without_plans(manifest: Manifest) -> list[Need]:
    """By ONNX Runtime's provider."""
    return needs_of_sizes(manifest, (), lambda: True)


def engines_nbytes(manifest: Manifest) -> int:
    """Of all engines but the text encoder's."""
    weights = [n for entry in manifest.graphs.values() for n in weight_nbytes(entry).values()]
    return sum(weights) - weight_nbytes(manifest.graphs["text_encoder"])["shared"]


def test_a_gpu_that_cannot_hold_the_weights_is_refused() -> None:
    manifest = full_size_manifest(ModelName.ANIMATE, Precision.FP8)
    with pytest.raises(ResourceError, match=r"has 20\.0 GB free; expected more than 21\.\d GB"):
        room_for_pages(*expected_residency(without_plans(manifest), 20 * 10**9))
