"""Plans in a bundle: files, manifest, and who takes whose place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from changed_bundles import copy_bundle

from wan_trt.cli.bundle_text import plans, summary
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import BundleError
from wan_trt.engine.plan_entry import (
    FusionRecord,
    Gpu,
    ParityRecord,
    PlanEntry,
    SymbolRange,
    find_plan,
)
from wan_trt.export.previous import PreviousBundle
from wan_trt.plan.record import find_timing_cache, record

H100 = Gpu("NVIDIA H100 80GB HBM3", "9.0", "580.65, CUDA 13.0")
PCIE = "NVIDIA H100 PCIe"
SIZES = {name: SymbolRange.fixed(value) for name, value in {"rows": 4, "columns": 6}.items()}
TENSORRT = "11.4.0.106"
PLAN = PlanEntry(
    graph="denoiser",
    weight_set="high",
    symbols=SIZES,
    file="",
    model="",
    sha256="",
    nbytes=0,
    gpu=H100,
    tensorrt=TENSORRT,
    scratch_nbytes=5_000_000,
    fusions=FusionRecord(14, 36, ("attention a: made of gemm_1",), required=False),
    parity=ParityRecord(0, {"cosine": 0.9995, "relative_error": None}, ("relative_error",)),
    options={"strip": False},
)


@pytest.fixture
def bundle(tiny_bundle: Bundle, tmp_path: Path) -> Bundle:
    return copy_bundle(tiny_bundle, tmp_path / "bundle")


def add(bundle: Bundle, plan: PlanEntry, content: bytes, timing: bytes = b"timings") -> Bundle:
    """As a build does with what its process left in a folder."""
    work = bundle.path.parent / "work"
    work.mkdir(exist_ok=True)
    files = {suffix: work / f"engine{suffix}" for suffix in (".plan", ".onnx", ".layers.json")}
    for file in files.values():
        file.write_bytes(content)
    (work / "timing").write_bytes(timing)
    return record(bundle, plan, files, work / "timing")


def test_a_recorded_plan_is_part_of_the_bundle(bundle: Bundle) -> None:
    [entry] = add(bundle, PLAN, b"engine").manifest.plans
    opened = Bundle.open(bundle.path)
    opened.verify()
    assert opened.manifest.plans == (entry,)
    assert entry.file.startswith("plans/nvidia-h100-80gb-hbm3/denoiser-high-columns6-rows4-")
    assert (bundle.path / entry.file).read_bytes() == b"engine"
    assert (bundle.path / entry.model).is_file()
    assert replace(entry, file="", model="", sha256="", nbytes=0) == PLAN


def test_building_again_replaces_the_plan_and_its_files(bundle: Bundle) -> None:
    add(bundle, PLAN, b"first")
    built = add(bundle, PLAN, b"second")
    [entry] = built.manifest.plans
    assert (bundle.path / entry.file).read_bytes() == b"second"
    assert len(list((bundle.path / "plans" / "nvidia-h100-80gb-hbm3").iterdir())) == 3
    built.verify()


def test_an_export_may_replace_a_bundle_with_plans(bundle: Bundle) -> None:
    """Plans and timings are files of the bundle, not strangers in its folder."""
    assert PreviousBundle.at(add(bundle, PLAN, b"engine").path) is not None


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, weight_set="low"),
        replace(PLAN, symbols={**SIZES, "rows": SymbolRange.fixed(8)}),
        replace(PLAN, tensorrt="11.5.0.1"),
        replace(PLAN, gpu=Gpu("NVIDIA L40S", "8.9", "580.65, CUDA 13.0")),
        replace(PLAN, gpu=replace(H100, name=PCIE)),  # of the same compute capability
    ],
)
def test_plans_for_something_else_stay(bundle: Bundle, other: PlanEntry) -> None:
    add(bundle, PLAN, b"first")
    built = add(bundle, other, b"second")
    assert len(built.manifest.plans) == 2
    built.verify()


def test_timings_are_kept_for_each_gpu_and_tensorrt(bundle: Bundle) -> None:
    assert find_timing_cache(bundle, H100.name, TENSORRT) is None
    built = add(bundle, PLAN, b"first", timing=b"one engine")
    built = add(built, replace(PLAN, weight_set="low"), b"second", timing=b"two engines")
    found = find_timing_cache(built, H100.name, TENSORRT)
    assert found is not None
    assert found.read_bytes() == b"two engines"
    assert len(list(found.parent.iterdir())) == 1
    assert find_timing_cache(built, H100.name, "11.4.0.1") is None
    assert find_timing_cache(built, PCIE, TENSORRT) is None
    found.write_bytes(b"two engineS")  # the manifest pins it
    assert find_timing_cache(built, H100.name, TENSORRT) is None


def test_the_plan_for_a_size_is_found(bundle: Bundle) -> None:
    motion = replace(PLAN, graph="motion_encoder", symbols={"batch": SymbolRange(1, 8, 8)})
    built = add(add(bundle, PLAN, b"first"), motion, b"second").manifest.plans
    sizes = {"rows": 4, "columns": 6, "frames": 3}
    assert find_plan(built, "denoiser", "high", sizes, H100.name, TENSORRT) == built[0]
    assert find_plan(built, "denoiser", "low", sizes, H100.name, TENSORRT) is None
    assert find_plan(built, "denoiser", "high", sizes | {"rows": 5}, H100.name, TENSORRT) is None
    assert find_plan(built, "denoiser", "high", sizes, PCIE, TENSORRT) is None
    assert find_plan(built, "denoiser", "high", sizes, H100.name, "11.5.0.1") is None
    for batch, fits in ((1, True), (8, True), (9, False)):
        found = find_plan(built, "motion_encoder", "high", {"batch": batch}, H100.name, TENSORRT)
        assert (found is not None) == fits


def test_a_plan_that_is_not_the_manifests_is_refused(bundle: Bundle) -> None:
    built = add(bundle, PLAN, b"engine")
    [entry] = built.manifest.plans
    changed = replace(built.manifest, plans=(replace(entry, sha256="0" * 64),))
    (bundle.path / "manifest.json").write_text(changed.to_json())
    with pytest.raises(BundleError, match="lists no file for the plan"):
        Bundle.open(bundle.path)


def test_inspect_shows_what_was_found(bundle: Bundle) -> None:
    shown = list(plans(add(bundle, PLAN, b"engine").manifest))
    assert shown == [
        "plan       denoiser-high-columns6-rows4: 0.0 MB, scratch 5.0 MB, NVIDIA H100 80GB "
        "HBM3 (9.0, driver 580.65, CUDA 13.0), TensorRT 11.4.0.106",
        "           49 of 50 fusions, cosine 0.9995, relative_error not a number",
    ]
    assert set(shown) <= set(summary(Bundle.open(bundle.path)))
