"""What fits where, for the real models' sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from full_size_manifest import full_size_manifest

from wan_trt.engine.bundle import WEIGHTS, Bundle
from wan_trt.engine.memory.footprint import (
    Footprint,
    StageBytes,
    VideoSize,
    footprint,
    weight_nbytes,
)
from wan_trt.engine.memory.residency import RESERVE_NBYTES, Mode, decide
from wan_trt.engine.memory.residency_text import page
from wan_trt.engine.models import ModelName
from wan_trt.export.precision import Precision

GB = 10**9
MIB = 1 << 20
# What nvidia-smi calls the whole memory, less the CUDA context.
H100, L40S, CARD_24_GB = 81_079 * MIB, 45_500 * MIB, 24_000 * MIB
AT_480P, AT_720P = VideoSize(480, 832, 77), VideoSize(720, 1280, 77)
PAGE = 2 << 20


def animate(size: VideoSize, precision: Precision = Precision.FP8) -> Footprint:
    return footprint(full_size_manifest(ModelName.ANIMATE, precision), size, {})


def test_weights_are_those_of_the_files(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest
    for graph, entry in manifest.graphs.items():
        for weight_set, nbytes in weight_nbytes(entry).items():
            files = tiny_bundle.tensor_files(graph, weight_set).values()
            stored = [(tiny_bundle.path / WEIGHTS / file).stat().st_size for file in files]
            assert nbytes == sum(stored), (graph, weight_set)


def test_an_exported_bundle_has_a_footprint(tiny_bundle: Bundle) -> None:
    found = footprint(tiny_bundle.manifest, VideoSize(64, 64, 9), {})
    assert set(found.experts) == {"high", "low"}
    assert decide(found, 2 * GB).mode is Mode.BOTH


def test_sizes_are_those_of_the_fact_sheet() -> None:
    """wan.md 1.2, 8.2, 8.4 and 9.5; tensorrt.md 8."""
    found = animate(AT_480P, Precision.BF16)
    assert found.experts["high"] / GB == pytest.approx(34.55, rel=0.01)
    assert found.text_encoder / GB == pytest.approx(11.36, rel=0.01)
    caches = {label: stage.tensors / GB for label, stage in found.vae.items()}
    assert caches["VAE encoding"] == pytest.approx(2 * 2.24, rel=0.01)
    assert caches["VAE decoding"] == pytest.approx(2 * 3.78, rel=0.01)
    assert found.denoising.scratch / GB == pytest.approx(2.5, rel=0.05)
    # float32: twice the 0.42 + 0.21 GB of keys and values, for two experts; tokens 0.67
    assert found.job / GB == pytest.approx(2 * 2 * 0.63 + 0.67, rel=0.06)
    larger = animate(AT_720P, Precision.BF16)
    assert larger.vae["VAE encoding"].tensors / GB == pytest.approx(2 * 5.18, rel=0.01)
    assert larger.vae["VAE decoding"].tensors / GB == pytest.approx(2 * 8.72, rel=0.01)
    assert larger.vae["VAE decoding"].scratch / GB == pytest.approx(17.4 - 8.72, rel=0.02)


def test_an_h100_holds_both_experts_at_720p() -> None:
    residency = decide(animate(AT_720P), H100)
    assert residency.mode is Mode.BOTH
    assert residency.short_nbytes == residency.prefetched_nbytes == 0
    assert residency.concurrent
    assert residency.pages_nbytes + residency.need.weights + RESERVE_NBYTES == H100


def test_an_h100_takes_the_experts_of_a_bf16_bundle_in_turn() -> None:
    residency = decide(animate(AT_720P, Precision.BF16), H100)
    assert residency.mode is Mode.ONE
    assert residency.prefetched_nbytes > residency.need.prefetch


def test_an_l40s_takes_the_experts_in_turn_at_480p() -> None:
    residency = decide(animate(AT_480P), L40S)
    assert residency.mode is Mode.ONE
    assert 0 < residency.prefetched_nbytes < residency.footprint.experts["low"]
    assert "one expert at a time" in page(residency)
    assert "GB of the next expert are loaded before it is needed" in page(residency)


def test_an_l40s_holds_a_bundle_whose_experts_are_the_same() -> None:
    manifest = full_size_manifest(ModelName.ANIMATE, Precision.FP8, two_experts=False)
    residency = decide(footprint(manifest, AT_480P, {}), L40S)
    assert residency.mode is Mode.BOTH
    assert "the same weights" in page(residency)


def test_a_card_of_24_gb_holds_nothing_and_says_by_how_much() -> None:
    residency = decide(animate(AT_480P), CARD_24_GB, jobs=2)
    assert residency.mode is Mode.NONE
    assert residency.short_nbytes == residency.need.total - CARD_24_GB > 0
    text = page(residency)
    assert f"does not fit: {residency.short_nbytes / 1e9:.1f} GB are missing" in text
    assert "fewer jobs" in text
    assert "FP8" not in text, "it is FP8 already"


def test_image_to_video_has_experts_of_their_own() -> None:
    manifest = full_size_manifest(ModelName.IMAGE_TO_VIDEO, Precision.FP8)
    found = footprint(manifest, VideoSize(480, 832, 81), {})
    assert set(found.experts) == {"high", "low"}
    assert found.job < animate(AT_480P).job
    assert decide(found, L40S).mode is Mode.ONE


SMALL = Footprint(
    size=AT_480P,
    precision="bf16",
    experts={"high": 400 * PAGE, "low": 400 * PAGE},
    layers=40,
    shared=30 * PAGE,
    text_encoder=100 * PAGE,
    job=10 * PAGE,
    denoising=StageBytes(20 * PAGE, PAGE, exact=True),
    vae={"VAE decoding": StageBytes(30 * PAGE, 15 * PAGE, exact=True)},
)
BOTH_NBYTES = (400 + 400 + 30 + 10 + 45) * PAGE
ONE_NBYTES = BOTH_NBYTES - 400 * PAGE + 20 * PAGE  # two of forty blocks


@pytest.mark.parametrize(
    ("free", "mode"),
    [
        (BOTH_NBYTES, Mode.BOTH),
        (BOTH_NBYTES - 1, Mode.ONE),
        (ONE_NBYTES, Mode.ONE),
        (ONE_NBYTES - 1, Mode.NONE),
        (0, Mode.NONE),
    ],
)
def test_each_byte_counts(free: int, mode: Mode) -> None:
    residency = decide(SMALL, free, reserve_nbytes=0)
    assert residency.mode is mode
    assert (residency.short_nbytes == 0) == (mode is not Mode.NONE)


def test_the_reserve_and_every_job_count() -> None:
    assert decide(SMALL, BOTH_NBYTES + 99, reserve_nbytes=100).mode is Mode.ONE
    assert decide(SMALL, BOTH_NBYTES + 9 * PAGE, 2, 0).mode is Mode.ONE
    assert decide(SMALL, BOTH_NBYTES + 10 * PAGE, 2, 0).jobs_that_fit == 2
    assert decide(SMALL, BOTH_NBYTES, 1, 0).jobs_that_fit == 1


def test_the_vae_runs_beside_the_denoiser_where_both_fit() -> None:
    assert not decide(SMALL, BOTH_NBYTES + 21 * PAGE - 1, reserve_nbytes=0).concurrent
    assert decide(SMALL, BOTH_NBYTES + 21 * PAGE, reserve_nbytes=0).concurrent


def test_what_is_spare_is_for_the_next_expert() -> None:
    alone = decide(SMALL, ONE_NBYTES + 7 * PAGE, reserve_nbytes=0)
    assert alone.prefetched_nbytes == 27 * PAGE
    beside = decide(SMALL, ONE_NBYTES + 121 * PAGE, reserve_nbytes=0)
    assert beside.concurrent
    assert beside.prefetched_nbytes == 120 * PAGE, "the VAE's pages are not for weights"
    almost = decide(SMALL, BOTH_NBYTES - 1, reserve_nbytes=0)
    assert almost.prefetched_nbytes < 400 * PAGE


def test_scratch_of_plans_replaces_the_estimate() -> None:
    manifest = full_size_manifest(ModelName.ANIMATE, Precision.FP8)
    estimated = footprint(manifest, AT_480P, {})
    exact = footprint(manifest, AT_480P, {"denoiser": 7 * PAGE - 1, "vae_decoder_next": 3 * PAGE})
    assert exact.denoising == replace(estimated.denoising, scratch=7 * PAGE, exact=True)
    assert exact.vae == estimated.vae, "one plan of two says too little"
    both = footprint(
        manifest, AT_480P, {"vae_decoder_first": 9 * PAGE, "vae_decoder_next": 3 * PAGE}
    )
    assert both.vae["VAE decoding"].scratch == 9 * PAGE


def test_the_page_has_all_numbers() -> None:
    text = page(decide(SMALL, BOTH_NBYTES, reserve_nbytes=0))
    assert len(text.splitlines()) < 40
    for words in (
        "832x480, 77 frames, bf16, 1 job in GPU memory",
        "fits: both experts stay",
        "high-noise expert      0.8 GB",
        "other engines          0.1 GB",
        f"needed{BOTH_NBYTES / 1e9:>29.1f} GB",
        "takes turns with the denoiser",
        "the text encoder (0.2 GB) does not fit",
    ):
        assert words in text, text
    assert "estimated" not in text
    assert "estimated" in page(decide(animate(AT_480P), L40S))
