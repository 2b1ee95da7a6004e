"""A plain driving video: the server prepares it, with tiny networks or with key points."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from server_processes import TIMEOUT_S, address_of, server_process
from tiny_networks import red_box, write_networks
from toy_bundle import write_toy_bundle

from wan_trt.cli.main import main
from wan_trt.engine import Bundle, JobState, Mode
from wan_trt.engine.choices import RequestChoices, SamplingChoices
from wan_trt.engine.errors import (
    CancelledError,
    DeadlineError,
    ExecutionError,
    InputError,
    MediaLimitError,
    StorageFullError,
    WanTrtError,
)
from wan_trt.engine.request import Event
from wan_trt.preprocess import Driver, DriverChoices, DriverFiles, write_keypoints
from wan_trt.preprocess import driver as driver_module
from wan_trt.preprocess.networks.folder import NetworkFolder
from wan_trt.preprocess.progress import Progress
from wan_trt.server import driven as driven_module
from wan_trt.server.client import Client
from wan_trt.server.jobs import JobOptions
from wan_trt.server.submission import OutputFormat, Submission

COUNT = 9
AREA = 2048
CHOICES = RequestChoices(
    seed=3, segment_frames=5, area=AREA, frames=7, sampling=SamplingChoices(steps=1)
)
PREPARATION = DriverChoices(face_size=16)


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Without a model in it: frames show which poses and faces went in all the same."""
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> NetworkFolder:
    return NetworkFolder(write_networks(tmp_path_factory.mktemp("networks")))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DriverFiles:
    folder = tmp_path_factory.mktemp("media")
    save_file({"frames": red_box(COUNT, 64, 96)}, folder / "walk.safetensors")
    Image.fromarray(red_box(1, 64, 96)[0]).save(folder / "hero.png")
    return DriverFiles(folder / "walk.safetensors", folder / "hero.png")


@pytest.fixture
def finding(make_server: Callable[..., Any], networks: NetworkFolder) -> Iterator[Client]:
    """A client of a server that finds people."""
    server = make_server(jobs=JobOptions(networks=networks, checkpoint_steps=1))
    with Client(str(server.address), timeout_s=60) as client:
        yield client


def submission(client: Client, files: DriverFiles, **fields: Any) -> Submission:
    values: dict[str, Any] = {
        "reference": client.upload(files.reference),
        "video": client.upload(files.video),
        "choices": CHOICES,
        "preparation": PREPARATION,
        "output_format": OutputFormat.UINT8,
    }
    return Submission(**(values | fields))


def frames(client: Client, job_id: str, folder: Path) -> Any:
    out = folder / f"{job_id}.safetensors"
    client.fetch(job_id, out)
    return load_file(out)["frames"]


def prepared_elsewhere(
    files: DriverFiles, networks: NetworkFolder, choices: RequestChoices, folder: Path
) -> dict[str, Path]:
    """What `wan-trt preprocess --lossless` makes of the same video."""
    made = {}
    with ExitStack() as resources:
        driver = Driver(files, PREPARATION, PREPARATION.options(choices), networks, resources)
        prepared = driver.prepare()
        for name in ("pose", "face", "background", "mask"):
            source = getattr(prepared, name)
            if source is not None:
                made[name] = folder / f"{name}.safetensors"
                save_file({"frames": source.read(0, source.count)}, made[name])
        write_keypoints(prepared.keypoints, folder / "keypoints.json")
    return made


@pytest.mark.parametrize("mode", list(Mode))
def test_it_is_as_if_the_client_had_prepared_it(
    mode: Mode, finding: Client, files: DriverFiles, networks: NetworkFolder, tmp_path: Path
) -> None:
    choices = replace(CHOICES, mode=mode)
    made = prepared_elsewhere(files, networks, choices, tmp_path)
    preparation = replace(
        PREPARATION,
        mask_from=None if mode is Mode.ANIMATE else driver_module.MaskSource.BOX,
    )
    wish = submission(finding, files, choices=choices, preparation=preparation)
    job_id = finding.submit(wish)
    events = list(finding.watch(job_id))
    assert events[-1].state is JobState.DONE
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    stages = [event.stage for event in events]
    assert stages.index("poses") < stages.index("denoise")
    seconds = [event.elapsed_s for event in events]
    assert seconds == sorted(seconds)
    video = finding.get(job_id).video
    assert video is not None
    assert video.frames == 7
    uploads: Any = {name: finding.upload(path) for name, path in made.items()}
    plain = replace(
        submission(finding, files, **uploads),
        video=None,
        preparation=DriverChoices(),
        choices=replace(choices, area=None, frames=None),
    )
    same = finding.submit(plain)
    finding.wait(same)
    ours, theirs = frames(finding, job_id, tmp_path), frames(finding, same, tmp_path)
    assert ours.shape == (7, video.height, video.width, 3)
    np.testing.assert_array_equal(ours, theirs)


def test_key_points_serve_where_there_are_no_networks(
    client: Client, finding: Client, files: DriverFiles, networks: NetworkFolder, tmp_path: Path
) -> None:
    prepared_elsewhere(files, networks, CHOICES, tmp_path)
    keypoints = client.upload(tmp_path / "keypoints.json")
    job_id = client.submit(submission(client, files, keypoints=keypoints))
    client.wait(job_id)
    found = finding.submit(submission(finding, files))
    finding.wait(found)
    ours, theirs = frames(client, job_id, tmp_path), frames(finding, found, tmp_path)
    np.testing.assert_allclose(ours.astype(int), theirs.astype(int), atol=1)  # they are rounded


def refusal(client: Client, wish: Submission) -> WanTrtError:
    with pytest.raises(InputError) as raised:
        client.submit(wish)
    return raised.value


def test_what_a_server_cannot_do_is_told_at_once(client: Client, files: DriverFiles) -> None:
    error = refusal(client, submission(client, files))
    assert error.field == "keypoints"
    assert "start the server with --models DIR" in error.action


def test_key_points_that_are_too_long_are_not_parsed(
    client: Client, files: DriverFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driven_module, "MAX_JSON_NBYTES", 10)
    (tmp_path / "long.json").write_text(" " * 11)
    keypoints = client.upload(tmp_path / "long.json")
    error = refusal(client, submission(client, files, keypoints=keypoints))
    assert isinstance(error, MediaLimitError)
    assert "long.json: 11 bytes of key points" in error.given


def test_a_file_of_the_server_that_is_missing_is_named(
    make_server: Callable[..., Any], files: DriverFiles, tmp_path: Path
) -> None:
    folder = write_networks(tmp_path / "networks", sam2=False)
    (folder / "pose2d" / "vitpose_h_wholebody.onnx").unlink()
    server = make_server(jobs=JobOptions(networks=NetworkFolder(folder)))
    with Client(str(server.address)) as client:
        error = refusal(client, submission(client, files))
        assert "pose2d/vitpose_h_wholebody.onnx is missing" in error.given


def test_what_does_not_fit_is_refused_before_anything_is_prepared(
    finding: Client, files: DriverFiles, tmp_path: Path
) -> None:
    upload = finding.upload(files.video)
    for field, wish in {
        "pose": submission(finding, files, pose=upload),
        "segment_frames": submission(finding, files, choices=replace(CHOICES, segment_frames=6)),
        "size": submission(finding, files, preparation=replace(PREPARATION, size=(32, 32))),
        "edited_driver": submission(finding, files, edited_driver=upload),
        "mask_from": submission(
            finding,
            files,
            preparation=replace(PREPARATION, mask_from=driver_module.MaskSource.BOX),
        ),
        "smooth_points_s": submission(
            finding, files, preparation=replace(PREPARATION, smooth_points_s=-1.0)
        ),
        "matte": submission(finding, files, matte=upload),
        "keypoints": submission(finding, files, video=None, keypoints=upload),
    }.items():
        assert refusal(finding, wish).field == field
    assert not list(tmp_path.glob("data*/jobs/*"))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at a few frames takes a while."""
    look = Driver.prepare

    def slowly(driver: Driver, on_progress: Callable[[Progress], None]) -> Any:
        def report(progress: Progress) -> None:
            for _ in range(1000):
                time.sleep(0.01)
                on_progress(Progress("poses", 0, progress.total))

        return look(driver, report)

    monkeypatch.setattr(Driver, "prepare", slowly)


def next_of(watching: Iterator[Event], stage: str) -> Event:
    return next(event for event in watching if event.stage == stage)


@pytest.mark.usefixtures("slow")
def test_preparation_can_be_cancelled(finding: Client, files: DriverFiles, tmp_path: Path) -> None:
    running = finding.submit(submission(finding, files))
    waiting = finding.submit(submission(finding, files))
    late = finding.submit(submission(finding, files, timeout_s=0.5))
    watching = finding.watch(running)
    next_of(watching, "poses")
    finding.cancel(waiting)
    with pytest.raises(CancelledError):
        finding.wait(waiting)
    with pytest.raises(DeadlineError):
        finding.wait(late)
    finding.cancel(running)
    last = list(watching)[-1]
    assert last.state is JobState.CANCELLED
    assert not list(tmp_path.glob("data*/jobs/*"))


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(
    "error", [StorageFullError("full"), ExecutionError("the job store failed")], ids=type
)
def test_a_store_that_cannot_be_written_is_no_end_of_all_preparing(
    make_server: Callable[..., Any],
    networks: NetworkFolder,
    files: DriverFiles,
    monkeypatch: pytest.MonkeyPatch,
    error: WanTrtError,
) -> None:
    def fail(*_: object) -> None:
        raise error

    server = make_server(jobs=JobOptions(networks=networks))
    with Client(str(server.address), timeout_s=60) as client:
        first = client.submit(submission(client, files))
        next_of(client.watch(first), "poses")
        with monkeypatch.context() as patch:
            patch.setattr(server._data.store, "add_event", fail)
            patch.setattr(server._data.store, "begin_work", fail)
            time.sleep(0.6)  # it tells how far it is
            client.cancel(first)
            time.sleep(0.3)
        server._tidy()
        with pytest.raises(type(error) if isinstance(error, ExecutionError) else CancelledError):
            client.wait(first)
        second = client.submit(submission(client, files))
        next_of(client.watch(second), "poses")
        client.cancel(second)
        with pytest.raises(CancelledError):
            client.wait(second)


def test_a_preparation_that_was_killed_is_made_again(
    tiny_bundle: Bundle,
    files: DriverFiles,
    networks: NetworkFolder,
    memory_folder: Path,
    tmp_path: Path,
) -> None:
    """Three times: in the preparation, in the first segment, and in the second."""
    data, options = memory_folder / "data", ("--models", str(networks.path))
    job_id = undisturbed = ""

    def wish(client: Client) -> Submission:
        long = replace(CHOICES, sampling=SamplingChoices(steps=50))
        return submission(client, files, choices=long)

    for stage, segment in (("poses", 0), ("denoise", 0), ("denoise", 1), ("", 0)):
        with (
            server_process(tiny_bundle.path, data, *options) as (process, stdout),
            Client(address_of(stdout), timeout_s=TIMEOUT_S) as client,
        ):
            if not job_id:
                job_id = client.submit(wish(client))
            if stage:
                watching = client.watch(job_id, client.get(job_id).latest.sequence)
                next(e for e in watching if e.stage == stage and e.segment >= segment)
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
                continue
            assert client.wait(job_id).state is JobState.DONE
            undisturbed = client.submit(wish(client))
            client.wait(undisturbed)
            ours, theirs = (frames(client, one, tmp_path) for one in (job_id, undisturbed))
            np.testing.assert_array_equal(ours, theirs)


def test_the_command(
    finding: Client, files: DriverFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.zip"
    words = f"--server {finding.target} --reference {files.reference} --video {files.video}"
    how = f"--area {AREA} --face-size 16 --segment-frames 5 --steps 1 --frames 5 --out {out}"
    assert main(f"submit {words} {how}".split()) == 0
    assert out.is_file()
    capsys.readouterr()
    assert main(f"submit --server {finding.target} --reference r --retarget".split()) == 2
    assert "--retarget: given without --video" in capsys.readouterr().err
