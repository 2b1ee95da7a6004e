"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wan_trt.engine.bundle import Bundle

if TYPE_CHECKING:
    from wan_trt.export.lora.spec import LoraStacks

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden data and example media that stands beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("golden data: ../shared is not beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Golden data computed with the official code."""
    return shared / "reference" / "wan"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint with random weights in the official layout; sizes `TINY`."""
    from wan_trt.export.synthetic.checkpoint import write_checkpoint
    from wan_trt.export.synthetic.sizes import TINY

    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", TINY)


@pytest.fixture(scope="session")
def tiny_loras(tmp_path_factory: pytest.TempPathFactory) -> LoraStacks:
    """LoRAs for `tiny_checkpoint`: `both` changes the image embedding, `high` the queries of
    self-attention, `low` its outputs and the keys of the text."""
    from wan_trt.export.lora.spec import LoraSpec, LoraStacks
    from wan_trt.export.synthetic.lora import write_musubi_lora
    from wan_trt.export.synthetic.sizes import TINY

    folder = tmp_path_factory.mktemp("loras")

    def spec(name: str, seed: int, *targets: str) -> tuple[LoraSpec, ...]:
        path = folder / f"{name}.safetensors"
        return (LoraSpec(write_musubi_lora(path, TINY, seed=seed, targets=targets)),)

    return LoraStacks(
        both=spec("both", 0, "img_emb.proj.1"),
        high=spec("high", 1, "blocks.0.self_attn.q", "blocks.1.self_attn.q"),
        low=spec("low", 2, "blocks.0.self_attn.o", "blocks.2.cross_attn.k"),
    )


@pytest.fixture(scope="session")
def tiny_bundle(
    tiny_checkpoint: Path, tiny_loras: LoraStacks, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """`tiny_checkpoint` exported with `tiny_loras`: its two experts differ."""
    from wan_trt.export.bundle_writer import ExportOptions, export_bundle

    out = tmp_path_factory.mktemp("bundle") / "tiny"
    return export_bundle(tiny_checkpoint, out, ExportOptions(tiny_loras))


@pytest.fixture(scope="session")
def golden_bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The golden checkpoint exported without LoRAs: it reproduces the golden runs."""
    from wan_trt.export.bundle_writer import export_bundle

    out = tmp_path_factory.mktemp("bundle") / "golden"
    return export_bundle(golden / "checkpoint", out)
