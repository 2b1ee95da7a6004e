"""What a folder of samples may hold, and what is refused."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from calibration_samples import write_small_sample

from wan_trt.calibration.sample_jobs import check_samples
from wan_trt.calibration.samples import Sample, read_samples
from wan_trt.engine.errors import InputError
from wan_trt.engine.models import ModelName
from wan_trt.engine.request import AnimateRequest, Mode


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return write_small_sample(tmp_path / "inputs" / "one")


def open_sample(folder: Path, model: ModelName = ModelName.ANIMATE) -> None:
    with ExitStack() as resources:
        Sample.read(folder).open(model, resources)


def test_settings_and_prompts_reach_the_request(sample: Path) -> None:
    (sample / "prompt.txt").write_text("a dancer\n")
    (sample / "request.toml").write_text(
        'steps = 3\nsolver = "dpm++"\nshift = 4\nguidance = [3.5, 1]\nseed = 7\n'
        "segment_frames = 5\noverlap = 5\n"
    )
    with ExitStack() as resources:
        request = Sample.read(sample).open(ModelName.ANIMATE, resources)
    assert isinstance(request, AnimateRequest)
    assert (request.prompt, request.seed, request.overlap) == ("a dancer", 7, 5)
    sampling = request.sampling
    assert (sampling.steps, sampling.solver, sampling.shift) == (3, "dpm++", 4.0)
    assert sampling.guidance == (3.5, 1.0)


def test_what_goes_before_the_settings(sample: Path) -> None:
    (sample / "request.toml").write_text("steps = 3\nseed = 7\n")
    with ExitStack() as resources:
        request = Sample.read(sample).open(ModelName.ANIMATE, resources, {"steps": 9})
    assert (request.sampling.steps, request.seed) == (9, 7)


def test_what_preprocess_writes_is_a_sample(sample: Path) -> None:
    for short, medium in (("ref", "reference"), ("pose", "pose"), ("face", "face")):
        (sample / f"{medium}.safetensors").rename(sample / f"src_{short}.safetensors")
    open_sample(sample)
    for name in ("src_bg", "src_mask"):
        shutil.copy(sample / "src_pose.safetensors", sample / f"{name}.safetensors")
    with ExitStack() as resources:
        request = Sample.read(sample).open(ModelName.ANIMATE, resources)
        assert isinstance(request, AnimateRequest)
        assert request.mode is Mode.REPLACE
        assert request.background is not None
        assert request.mask is not None
    (sample / "pose.mp4").write_bytes(b"")
    with pytest.raises(InputError, match="has two files pose"):
        Sample.read(sample)


def test_samples_are_found_by_name(sample: Path) -> None:
    write_small_sample(sample.parent / "another")
    found = read_samples(sample.parent)
    assert [one.name for one in found] == ["another", "one"]
    assert set(found[1].hashes) == {
        f"one/{name}"
        for name in (
            "face.safetensors",
            "pose.safetensors",
            "reference.safetensors",
            "request.toml",
        )
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("poses.mp4", "", "poses.mp4: unknown in a sample"),
        ("pose.mp4", "", "has two files pose"),
        ("request.toml", "stepps = 4", "has unknown keys .'stepps'."),
        ("request.toml", "steps = 4.5", "has steps = 4.5; expected a whole number"),
        ("request.toml", "steps = true", "has steps = True"),
        ("request.toml", 'solver = "heun"', "has solver = 'heun'; expected unipc or"),
        ("request.toml", "guidance = [1, 2, 3]", "has guidance"),
        ("request.toml", "steps = ", "cannot be read"),
    ],
)
def test_what_is_not_understood(sample: Path, name: str, content: str, message: str) -> None:
    (sample / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_samples(sample.parent)
    assert error.value.field == "inputs"


def test_a_folder_that_is_none(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_samples(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is empty"):
        read_samples(tmp_path / "empty")
    (sample.parent / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"notes\.txt: no folder"):
        read_samples(sample.parent)


def test_a_sample_without_a_picture(sample: Path) -> None:
    (sample / "reference.safetensors").unlink()
    with pytest.raises(InputError, match="one has no reference"):
        Sample.read(sample)


def test_a_sample_shorter_than_a_segment(tmp_path: Path) -> None:
    short = write_small_sample(tmp_path / "short", frames=9, segment_frames=13)
    with pytest.raises(InputError, match="short has 9 frames; expected at least 13"):
        check_samples([Sample.read(short)], ModelName.ANIMATE)


def test_errors_of_a_request_name_the_sample(sample: Path) -> None:
    with pytest.raises(InputError, match="inputs: sample one: pose: given, but the bundle holds"):
        open_sample(sample, ModelName.IMAGE_TO_VIDEO)
    (sample / "face.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="inputs: sample one: face: "):
        open_sample(sample)
