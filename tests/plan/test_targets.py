"""Which engines a size needs."""

from __future__ import annotations

import pytest

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import InputError
from wan_trt.engine.models import ModelName
from wan_trt.engine.plan_entry import SymbolRange
from wan_trt.engine.request import default_frames
from wan_trt.plan.targets import Target, VideoSize, plan_targets


def found(bundle: Bundle, *sizes: VideoSize) -> dict[tuple[str, str], list[Target]]:
    targets: dict[tuple[str, str], list[Target]] = {}
    for target in plan_targets(bundle.manifest, sizes):
        targets.setdefault((target.graph, target.weight_set), []).append(target)
    return targets


def test_animate_at_720p(tiny_bundle: Bundle) -> None:
    """20 latents of the video and the reference's; the VAE's grid is 8 pixels wide."""
    [target] = found(tiny_bundle, VideoSize(1280, 720, 77))["denoiser", "high"]
    assert target.best == {"frames": 21, "rows": 45, "columns": 80}
    assert target.is_static
    assert target.name == "denoiser-high-columns80-frames21-rows45"
    [segment] = found(tiny_bundle, VideoSize(1280, 720, 77))["segment_context", "shared"]
    assert segment.best == {"latents": 20, "rows": 45, "columns": 80}
    [vae] = found(tiny_bundle, VideoSize(1280, 720, 77))["vae_decoder_next", "shared"]
    assert vae.best == {"height": 90, "width": 160}
    [picture] = found(tiny_bundle, VideoSize(1280, 720, 77))["image_encoder", "shared"]
    assert picture.best == {"height": 720, "width": 1280}


def test_image_to_video_has_no_reference_latent(i2v_bundle: Bundle) -> None:
    [target] = found(i2v_bundle, VideoSize(832, 480, 81))["denoiser", "low"]
    assert target.best == {"frames": 21, "rows": 30, "columns": 52}


def test_what_changes_from_call_to_call_is_a_range(tiny_bundle: Bundle) -> None:
    engines = found(tiny_bundle, VideoSize(1280, 720, 77))
    [text], [motion] = engines["text_encoder", "shared"], engines["motion_encoder", "shared"]
    assert text.symbols == {"tokens": SymbolRange(1, 32, 32)}
    assert motion.symbols == {"batch": SymbolRange(1, 8, 8)}
    assert motion.name == "motion_encoder-shared-batch1to8"
    assert not motion.is_static


def test_what_no_size_changes_is_built_once(tiny_bundle: Bundle) -> None:
    engines = found(tiny_bundle, VideoSize(1280, 720, 77), VideoSize(832, 480, 77))
    assert len(engines["denoiser", "high"]) == len(engines["vae_encoder_next", "shared"]) == 2
    for graph in ("text_context", "face_context", "motion_encoder", "text_encoder"):
        [weight_set] = {weights for name, weights in engines if name == graph} - {"low"}
        assert len(engines[graph, weight_set]) == 1


def test_both_experts_are_built_where_they_differ(tiny_bundle: Bundle) -> None:
    engines = found(tiny_bundle, VideoSize(96, 64, 5))
    for graph, entry in tiny_bundle.manifest.graphs.items():
        assert {weights for name, weights in engines if name == graph} == set(entry.weights)


@pytest.mark.parametrize(
    ("size", "graphs", "field", "said"),
    [
        (VideoSize(1280, 730, 77), None, "size", "use 736 for 730"),
        (VideoSize(0, 720, 77), None, "size", "use 16 for 0"),
        (VideoSize(16000, 16000, 77), None, "size", "at most"),
        (VideoSize(1280, 720, 76), None, "frames", "use 77"),
        (VideoSize(1280, 720, 4097), None, "frames", "last position"),
        (VideoSize(1280, 720, 77), ["denoise"], "graphs", "graphs of the bundle: denoiser, "),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    tiny_bundle: Bundle, size: VideoSize, graphs: list[str] | None, field: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as error:
        plan_targets(tiny_bundle.manifest, [size], graphs)
    assert error.value.field == field


def test_frames_are_those_that_the_model_was_trained_on() -> None:
    assert [default_frames(model) for model in ModelName] == [77, 81]
