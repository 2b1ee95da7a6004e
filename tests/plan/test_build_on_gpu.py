"""Plans built for real: needs an NVIDIA GPU with TensorRT 11.4, and has not been run yet."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from changed_bundles import copy_bundle
from planned import SIZE

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.plan_entry import find_plan
from wan_trt.plan.build import build
from wan_trt.plan.jobs import BuildOptions
from wan_trt.plan.targets import plan_targets

_MISSING = [name for name in ("tensorrt", "cuda") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(bool(_MISSING), reason=f"no {' and no '.join(_MISSING)} on this machine"),
]


@pytest.fixture(autouse=True)
def _our_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(Path(__file__).resolve().parents[1] / ".path")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([path, os.environ.get("PYTHONPATH", "")]))


def built(bundle: Bundle, folder: Path, options: BuildOptions, *graphs: str) -> Bundle:
    copy = copy_bundle(bundle, folder / "bundle")
    return build(copy, plan_targets(copy.manifest, [SIZE], graphs or None), options)


def test_every_graph_becomes_a_plan_that_computes_the_same(
    fp8_bundle: Bundle, tmp_path: Path
) -> None:
    """Heads of 32 numbers may have no fused kernel: here only the comparison decides."""
    bundle = built(fp8_bundle, tmp_path, BuildOptions(gate=False))
    bundle.verify()
    targets = plan_targets(bundle.manifest, [SIZE])
    assert len(bundle.manifest.plans) == len(targets)
    gpu, tensorrt = bundle.manifest.plans[0].gpu, bundle.manifest.plans[0].tensorrt
    for target in targets:
        plan = find_plan(
            bundle.manifest.plans,
            *(target.graph, target.weight_set, target.best),
            *(gpu.name, tensorrt),
        )
        assert plan is not None
        assert plan.parity is not None
        assert plan.parity.failed == ()


def test_a_stripped_plan_is_small_and_the_same(fp8_bundle: Bundle, tmp_path: Path) -> None:
    options = BuildOptions(gate=False, strip=True)
    [plan] = built(fp8_bundle, tmp_path, options, "text_context").manifest.plans
    assert plan.stripped
    assert plan.parity is not None
    assert plan.parity.failed == ()


def test_lora_targets_can_be_exchanged(tiny_bundle: Bundle, tmp_path: Path) -> None:
    options = BuildOptions(gate=False, refit_loras=True)
    for plan in built(tiny_bundle, tmp_path, options, "denoiser").manifest.plans:
        assert "blocks.0.self_attn.q.weight" in plan.refittable
        assert plan.parity is not None
        assert plan.parity.failed == ()
        assert {"refitted.cosine", "exchanged.cosine"} <= plan.parity.numbers.keys()


def test_a_pinned_build_uses_the_timings_of_the_first(fp8_bundle: Bundle, tmp_path: Path) -> None:
    bundle = built(fp8_bundle, tmp_path, BuildOptions(gate=False), "text_context")
    targets = plan_targets(bundle.manifest, [SIZE], ["text_context"])
    again = build(bundle, targets, BuildOptions(gate=False, pinned=True))
    assert len(again.manifest.plans) == len(bundle.manifest.plans)
