"""Bundles whose graphs are looked at as TensorRT would get them."""

from __future__ import annotations

from pathlib import Path

import pytest
from planned import POLICY

from wan_trt.engine.bundle import Bundle
from wan_trt.export.bundle_writer import export_bundle
from wan_trt.export.lora.spec import LoraStacks
from wan_trt.export.options import ExportOptions
from wan_trt.export.precision import Precision
from wan_trt.export.synthetic.scales import synthetic_scales


@pytest.fixture(scope="session")
def fp8_bundle(
    tiny_checkpoint: Path,
    tiny_bundle: Bundle,
    tiny_loras: LoraStacks,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """`tiny_bundle` with FP8 linears in all blocks and FP8 attention in blocks 1 and 2."""
    options = ExportOptions(
        tiny_loras,
        precision=Precision.FP8,
        policy=POLICY,
        scales=synthetic_scales(tiny_checkpoint, tiny_loras, POLICY),
        reuse=(tiny_bundle.path,),
    )
    return export_bundle(tiny_checkpoint, tmp_path_factory.mktemp("fp8") / "bundle", options)
