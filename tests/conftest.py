"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wan_trt.engine.bundle import Bundle

if TYPE_CHECKING:
    from wan_trt.export.lora.spec import LoraStacks

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Tests export the same few small models again and again: each graph is traced once.
os.environ.setdefault("WAN_TRT_TRACES", str(Path(__file__).resolve().parents[1] / "build/traces"))


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
    from wan_trt.export.bundle_writer import export_bundle
    from wan_trt.export.options import ExportOptions

    out = tmp_path_factory.mktemp("bundle") / "tiny"
    return export_bundle(tiny_checkpoint, out, ExportOptions(tiny_loras))


@pytest.fixture(scope="session")
def fp8_bundle(
    tiny_checkpoint: Path,
    tiny_bundle: Bundle,
    tiny_loras: LoraStacks,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """`tiny_bundle` with FP8 linears in all blocks and FP8 attention in blocks 1 and 2."""
    from planned import POLICY

    from wan_trt.export.bundle_writer import export_bundle
    from wan_trt.export.options import ExportOptions
    from wan_trt.export.precision import Precision
    from wan_trt.export.synthetic.scales import synthetic_scales

    options = ExportOptions(
        tiny_loras,
        precision=Precision.FP8,
        policy=POLICY,
        scales=synthetic_scales(tiny_checkpoint, tiny_loras, POLICY),
        reuse=(tiny_bundle.path,),
    )
    return export_bundle(tiny_checkpoint, tmp_path_factory.mktemp("fp8") / "bundle", options)


@pytest.fixture(scope="session")
def golden_bundle(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The golden checkpoint exported without LoRAs: it reproduces the golden runs."""
    from wan_trt.export.bundle_writer import export_bundle

    out = tmp_path_factory.mktemp("bundle") / "golden"
    return export_bundle(golden / "checkpoint", out)


@pytest.fixture(scope="session")
def i2v_golden(golden: Path) -> Path:
    """Golden data of image-to-video."""
    return golden / "i2v"


@pytest.fixture(scope="session")
def i2v_golden_checkpoint(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden experts with the files that the official repository has beside them."""
    folder = tmp_path_factory.mktemp("checkpoint") / "golden_i2v"
    folder.mkdir()
    experts = golden / "i2v" / "checkpoint"
    for name in ("high_noise_model", "low_noise_model"):
        (folder / name).symlink_to(experts / name)
    for file in (*(golden / "checkpoint").glob("*.pth"), golden / "checkpoint" / "google"):
        if "clip" not in file.name:
            (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture(scope="session")
def i2v_golden_bundle(
    i2v_golden_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """The golden experts exported: the bundle reproduces the golden image-to-video runs."""
    from wan_trt.export.bundle_writer import export_bundle

    return export_bundle(i2v_golden_checkpoint, tmp_path_factory.mktemp("bundle") / "golden_i2v")


@pytest.fixture(scope="session")
def i2v_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small two-expert checkpoint with random weights in the official layout; sizes `TINY`."""
    from wan_trt.export.synthetic.checkpoint import write_two_expert_checkpoint
    from wan_trt.export.synthetic.sizes import TINY

    return write_two_expert_checkpoint(tmp_path_factory.mktemp("checkpoint") / "i2v", TINY)


@pytest.fixture(scope="session")
def i2v_loras(tmp_path_factory: pytest.TempPathFactory) -> LoraStacks:
    """LoRAs for `i2v_checkpoint` as Circle-Rotate's are: one for each expert, rank 32, alpha 1."""
    from wan_trt.export.lora.spec import LoraSpec, LoraStacks
    from wan_trt.export.synthetic.lora import write_musubi_lora
    from wan_trt.export.synthetic.sizes import TINY

    folder = tmp_path_factory.mktemp("loras")
    high, low = (
        LoraSpec(write_musubi_lora(folder / f"{name}.safetensors", TINY, rank=32, seed=seed))
        for name, seed in (("circle_high", 1), ("circle_low", 2))
    )
    return LoraStacks(high=(high,), low=(low,))


@pytest.fixture(scope="session")
def i2v_bundle(
    i2v_checkpoint: Path, i2v_loras: LoraStacks, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """`i2v_checkpoint` exported with `i2v_loras`."""
    from wan_trt.export.bundle_writer import export_bundle
    from wan_trt.export.options import ExportOptions

    out = tmp_path_factory.mktemp("bundle") / "i2v"
    return export_bundle(i2v_checkpoint, out, ExportOptions(i2v_loras))
