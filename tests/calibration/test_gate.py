"""The gate on real bundles: what is the same passes, what is broken fails and is named."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calibration_samples import write_driven_sample
from changed_bundles import copy_bundle, with_scaled_tensor, with_swapped_experts
from safetensors.numpy import load_file, save_file

from wan_trt.calibration.gate.gate import gate, record
from wan_trt.calibration.gate.job import JobOptions, made_up_job, sample_jobs
from wan_trt.calibration.gate.metrics import IDENTICAL_DB
from wan_trt.calibration.gate.thresholds import Thresholds
from wan_trt.calibration.gate.verdict import Verdict
from wan_trt.engine import Engine
from wan_trt.engine.bundle import Bundle
from wan_trt.engine.errors import GateError, InputError, MediaError
from wan_trt.engine.request import ExpertName
from wan_trt.media import open_sink


def judged(
    candidate: Bundle, reference: Bundle | Path, options: JobOptions | None = None
) -> Verdict:
    job = made_up_job(candidate.manifest, options or JobOptions())
    return gate(candidate, reference, [job], Thresholds.read(), threads=2)


def failures(verdict: Verdict) -> set[str]:
    return {check.name for check in verdict.failed}


def test_a_bundle_passes_against_itself_without_any_difference(self_verdict: Verdict) -> None:
    assert self_verdict.passed
    self_verdict.require()
    measured = self_verdict.measured
    assert {error.cosine for error in measured.velocities} == {1.0}
    assert {error.relative_error for error in measured.latents} == {0.0}
    assert {(x.psnr, x.ssim, x.temporal_ratio) for x in measured.frames} == {
        (IDENTICAL_DB, 1.0, 1.0)
    }


def test_every_step_of_every_segment_is_compared(self_verdict: Verdict) -> None:
    measured = self_verdict.measured
    places = [(error.segment, error.step) for error in measured.velocities]
    assert places == [(segment, step) for segment in range(4) for step in range(4)]
    assert {error.expert for error in measured.velocities} == set(ExpertName)
    assert [(x.start, x.stop) for x in measured.frames] == [(0, 5), (5, 9), (9, 13), (13, 17)]


def test_a_matrix_8_times_too_large_fails_and_names_the_velocity(broken_verdict: Verdict) -> None:
    assert {"velocity.cosine.high", "velocity.cosine.low", "frames.drift"} <= failures(
        broken_verdict
    )
    with pytest.raises(GateError, match=r"velocity\.cosine\.high 0\.\d+ \(at least 0\.999; seg"):
        broken_verdict.require()


def test_a_scale_that_only_stretches_the_velocity_fails(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    stretched = with_scaled_tensor(tiny_bundle, "head.head.weight", 1.2, tmp_path / "bundle")
    verdict = judged(stretched, tiny_bundle)
    assert {"velocity.relative_error.high", "velocity.relative_error.low"} <= failures(verdict)


@pytest.mark.parametrize(
    ("graph", "parameter"),
    [
        ("text_context", "blocks.1.cross_attn.v.weight"),
        ("image_context", "blocks.0.cross_attn.v_img.weight"),
        ("face_context", "face_adapter.fuser_blocks.0.linear1_v.weight"),
        ("segment_context", "patch_embedding.weight"),
    ],
)
def test_a_broken_context_is_seen_in_the_velocities(
    tiny_bundle: Bundle, tmp_path: Path, graph: str, parameter: str
) -> None:
    broken = with_scaled_tensor(tiny_bundle, parameter, 8, tmp_path / "bundle", graph)
    assert {"velocity.cosine.high", "velocity.cosine.low"} <= failures(judged(broken, tiny_bundle))


def test_swapped_experts_that_hardly_differ_fail(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The two differ in small LoRAs: the velocities' cosines are above the threshold."""
    verdict = judged(with_swapped_experts(tiny_bundle, tmp_path / "bundle"), tiny_bundle)
    assert {"velocity.confusion.high", "velocity.confusion.low"} <= failures(verdict)
    assert "velocity.cosine.high" not in failures(verdict)
    values = {check.name: check.value for check in verdict.checks}
    # The other expert with its own contexts, to the bit.
    assert (values["velocity.confusion.high"], values["velocity.confusion.low"]) == (1, 1)


def test_swapped_experts_of_image_to_video_fail(i2v_bundle: Bundle, tmp_path: Path) -> None:
    verdict = judged(with_swapped_experts(i2v_bundle, tmp_path / "bundle"), i2v_bundle)
    assert {"velocity.cosine.high", "velocity.confusion.low"} <= failures(verdict)


def test_image_to_video_is_judged_in_parts_and_says_so(i2v_bundle: Bundle) -> None:
    verdict = judged(i2v_bundle, i2v_bundle)
    assert verdict.passed
    assert verdict.measured.notes == ("one segment: its frames were judged in 4 parts",)
    assert {error.branch for error in verdict.measured.velocities} == {0, 1}
    assert len(verdict.measured.frames) == 4


def test_a_velocity_that_is_no_number_fails_with_the_run_that_it_ends(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    verdict = judged(
        with_scaled_tensor(tiny_bundle, "head.head.weight", np.nan, tmp_path / "bundle"),
        tiny_bundle,
    )
    assert {"run", "velocity.cosine.high", "velocity.relative_error.low"} <= failures(verdict)
    assert json.loads(verdict.to_json())["measured"]["failure"]
    assert verdict.record().numbers["velocity.cosine.high"] is None


def test_a_result_in_a_file_is_a_reference_without_velocities(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    request = made_up_job(tiny_bundle.manifest, JobOptions()).request
    path = tmp_path / "reference.safetensors"
    with Engine(tiny_bundle, 2) as engine:
        sink = open_sink(path, height=64, width=96, frame_count=request.frame_count)
        engine.generate(request, sink)
    verdict = judged(tiny_bundle, path)
    assert verdict.passed
    assert not verdict.measured.velocities
    assert "velocities were not compared" in verdict.measured.notes[0]
    with pytest.raises(MediaError, match=r"frames \[17, 64, 96, 3\]"):
        judged(tiny_bundle, path, JobOptions(size=(64, 64)))
    tensors = load_file(path)
    del tensors["latents.2"]
    save_file(tensors, path)
    with pytest.raises(MediaError, match=r"latents\.2 is missing"):
        judged(tiny_bundle, path)


def test_what_cannot_be_compared_is_refused(tiny_bundle: Bundle, i2v_bundle: Bundle) -> None:
    with pytest.raises(InputError, match="model"):
        judged(tiny_bundle, i2v_bundle)
    with pytest.raises(InputError, match="low-noise"):
        judged(tiny_bundle, tiny_bundle, JobOptions(steps=1))
    with pytest.raises(InputError, match="4 or more"):
        made_up_job(tiny_bundle.manifest, JobOptions(segments=3))


def test_the_manifest_keeps_the_result(
    tiny_bundle: Bundle, broken_verdict: Verdict, tmp_path: Path
) -> None:
    bundle = copy_bundle(tiny_bundle, tmp_path / "bundle")
    assert bundle.manifest.gate is None
    recorded = record(bundle, broken_verdict).manifest.gate
    assert recorded is not None
    assert not recorded.passed
    assert set(recorded.failed) == failures(broken_verdict)
    assert recorded.thresholds == Thresholds.read().digest
    assert recorded.numbers["velocity.cosine.high"] == pytest.approx(
        next(x.value for x in broken_verdict.checks if x.name == "velocity.cosine.high")
    )
    assert replace(Bundle.open(bundle.path).manifest, gate=None) == tiny_bundle.manifest
    again = judged(tiny_bundle, bundle)  # a gated reference is the same reference
    assert again.measured.against_digest == broken_verdict.measured.against_digest


def test_a_sample_is_cut_to_full_segments(tiny_bundle: Bundle, tmp_path: Path) -> None:
    write_driven_sample(tmp_path / "waving", frames=24)
    with ExitStack() as resources:
        (job,) = sample_jobs(tiny_bundle.manifest, tmp_path, JobOptions(), resources)
        assert job.cuts == ((0, 5), (5, 9), (9, 13), (13, 17))
        assert (job.name, job.describe()["segment_frames"]) == ("waving", 5)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ("", JobOptions(segment_frames=10), "at least 37 for 4 segments"),
        ("segment_frames = 9", JobOptions(), "at least 33 for 4 segments"),
        ("segment_frames = 9", JobOptions(segments=5, segment_frames=5), None),
        ("segment_frames = 9\noverlap = 5", JobOptions(), "at least 13 with an overlap of 5"),
        ("segment_frames = 13\noverlap = 5", JobOptions(), "at least 37 for 4 segments"),
        ("", JobOptions(segments=6), "at least 25 for 6 segments"),
        ("", JobOptions(size=(32, 32)), "area: given, but the bundle holds"),
    ],
)
def test_a_sample_must_be_four_segments_long(
    tiny_bundle: Bundle, tmp_path: Path, settings: str, options: JobOptions, message: str | None
) -> None:
    sample = write_driven_sample(tmp_path / "waving", frames=24)
    (sample / "request.toml").write_text(settings)
    with ExitStack() as resources:
        if message is None:
            sample_jobs(tiny_bundle.manifest, tmp_path, options, resources)
            return
        with pytest.raises(InputError, match=f"sample waving: .*{message}") as error:
            sample_jobs(tiny_bundle.manifest, tmp_path, options, resources)
    assert error.value.field == "inputs"


def test_all_samples_must_pass_and_the_worst_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Their settings are their own; a result in a file is that of one."""
    for name, settings in (("long", "steps = 5\nseed = 3"), ("short", "steps = 3\nshift = 4")):
        sample = write_driven_sample(tmp_path / "samples" / name)
        (sample / "request.toml").write_text(settings)
    stretched = with_scaled_tensor(tiny_bundle, "head.head.weight", 1.2, tmp_path / "bundle")
    with ExitStack() as resources:
        samples = tmp_path / "samples"
        jobs = sample_jobs(tiny_bundle.manifest, samples, JobOptions(), resources)
        verdict = gate(stretched, tiny_bundle, jobs, Thresholds.read(), threads=2)
        with pytest.raises(InputError, match="one job, and there are 2 samples"):
            gate(stretched, tmp_path / "result.safetensors", jobs, Thresholds.read())
    assert not verdict.passed
    measured = verdict.measured
    steps = Counter(error.sample for error in measured.velocities)
    assert steps == {"long": 4 * 5, "short": 4 * 3}
    job = verdict.record().job
    assert [job[name]["seed"] for name in ("long", "short")] == [3, 0]
    assert job["short"]["shift"] == 4
    (check,) = [x for x in verdict.checks if x.name == "velocity.relative_error.low"]
    errors = [x for x in measured.velocities if x.expert is ExpertName.LOW]
    worst = max(errors, key=lambda error: error.relative_error)
    assert check.value == worst.relative_error
    assert check.where.startswith(f"{worst.sample}, segment {worst.segment}, step {worst.step}")
    assert {error.sample for error in measured.latents} == {"long", "short"}
    assert {error.sample for error in measured.frames} == {"long", "short"}
