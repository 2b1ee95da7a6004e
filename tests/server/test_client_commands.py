"""`wan-trt submit, watch, list, bundles, fetch` in all their forms, on a server of toy jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from durable import write_media
from PIL import Image
from toy_bundle import write_toy_bundle
from toy_server import toy_server

from wan_trt.cli.main import main
from wan_trt.media import open_frames
from wan_trt.server.client import Client
from wan_trt.server.server import Server

FRAMES = 9


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with toy_server(write_toy_bundle(folder / "toy"), folder / "data") as server:
        yield server


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words of a submission."""
    media = write_media(tmp_path_factory.mktemp("media"), FRAMES)
    words = ["submit", "--segment-frames", "5", "--steps", "2"]
    return words + [word for name, path in media.items() for word in (f"--{name}", str(path))]


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(server: Server, capsys: pytest.CaptureFixture[str]) -> Run:
    """run(*words, code=0): what the command says on its two streams."""

    def run(*words: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert main([*words, "--server", str(server.address)]) == code
        return capsys.readouterr()

    return run


def objects(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_jobs_are_found_by_label_state_and_time(run: Run, asked: list[str], server: Server) -> None:
    shots = {}
    for number in ("1", "2", "3"):
        words = ("--title", f"shot\x1b {number}", "--label", "show=dune", "--priority", "0.5")
        shots[number] = run(*asked, *words, "--label", f"shot={number}", "--wait")[0].strip()
    found, _ = run("list", "--label", "show=dune")
    head, *rows = found.splitlines()
    assert head.split() == ["JOB", "STATE", "PROGRESS", "SUBMITTED", "BUNDLE", "TITLE"]
    assert [row.split()[0] for row in rows] == [shots["3"], shots["2"], shots["1"]]
    assert rows[0].split()[1:3] == ["done", "100%"]
    assert rows[0].endswith("  shot? 3")

    (job,) = objects(run("list", "--label", "show=dune", "--label", "shot=2", "--json")[0])
    assert job["job_id"] == shots["2"]
    assert job["state"] == "done"
    assert (job["labels"], job["priority"]) == ({"show": "dune", "shot": "2"}, 0.5)
    assert (job["frames"], job["size"], job["progress"]) == (FRAMES, [32, 16], 1)

    page, more = run("list", "--label", "show=dune", "--limit", "2")
    assert len(page.splitlines()) == 3
    token = more.split()[-1]
    page, more = run("list", "--label", "show=dune", "--limit", "2", "--page", token)
    assert page.splitlines()[1].startswith(shots["1"])
    assert not more
    for filter_ in (["--state", "failed"], ["--before", "1d"], ["--since", "2999-01-01"]):
        assert len(run("list", *filter_)[0].splitlines()) == 1
    assert len(run("list", "--state", "done", "--since", "1h")[0].splitlines()) >= 4
    with Client(str(server.address)) as client:
        assert {*shots.values()} <= {job.job_id for job in client.list_jobs()}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list", "--since", "soon"], "--since: 'soon'; expected a time such as"),
        (["list", "--limit", "500"], "--limit: 500; expected 1 to 200"),
        (["list", "--page", "x"], "--page: page token 'x'"),
        (["list", "--label", "show"], "--label: 'show'; expected KEY=VALUE"),
        (["list", "--label", "a=1", "--label", "a=2"], "--label: 'a=2'; expected KEY=VALUE, each"),
        (["watch", "nobody", "--preview", "now.gif"], "--preview: now.gif: a picture of type .gif"),
    ],
)
def test_what_cannot_be_asked(run: Run, words: list[str], told: str) -> None:
    assert told in run(*words, code=2)[1]


def test_bundles(run: Run, server: Server) -> None:
    head, row = run("bundles")[0].splitlines()
    assert head.split()[:4] == ["BUNDLE", "STATE", "JOBS", "MODEL"]
    assert row.split()[1::2][:2] == ["serving", "animate"]
    (bundle,) = objects(run("bundles", "--json")[0])
    assert bundle["digest"].startswith(row.split()[-1])
    assert bundle["size_multiple"] == 16
    with Client(str(server.address)) as client:
        assert client.bundles()[0].name == bundle["name"]


def test_a_bundle_by_its_name(run: Run, asked: list[str]) -> None:
    name = objects(run("bundles", "--json")[0])[0]["name"]
    run(*asked, "--bundle", name)
    told = "no bundle 'other'"
    assert told in run(*asked, "--bundle", "other", code=2)[1]


def test_json_lines_from_submission_to_result(run: Run, asked: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    told, error = run(*asked, "--json", "--out", str(out))
    first, *events = objects(told)
    assert not error
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert {event["job_id"] for event in events} == {first["job_id"]}
    assert (events[0]["state"], events[-1]["state"]) == ("queued", "done")
    assert out.is_file()
    assert objects(run("watch", first["job_id"], "--json", "--after", "3")[0]) == events[3:]


def test_lines_for_render_farms(run: Run, asked: list[str]) -> None:
    job_id, *lines = run(*asked, "--openjd", "--wait")[0].splitlines()
    shares = [float(line.split()[1]) for line in lines if line.startswith("openjd_progress: ")]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert lines[-1].startswith(f"openjd_status: done: {FRAMES} frames")

    long = run(*asked, "--steps", "1000")[0].strip()
    run("cancel", long)
    assert "openjd_fail: " in run("watch", long, "--openjd", code=4)[0]
    assert job_id != long


def test_an_image_sequence(run: Run, asked: list[str], tmp_path: Path) -> None:
    pattern = tmp_path / "frame.%04d.png"
    job_id, _ = run(*asked, "--out", str(pattern))
    assert len(list(tmp_path.iterdir())) == FRAMES, "nothing else is left there"
    frames = open_frames(pattern)
    assert (frames.count, frames.width, frames.height) == (FRAMES, 32, 16)
    whole = frames.read(0, FRAMES)
    frames.close()
    zipped = tmp_path / "out.zip"
    run("fetch", job_id.strip(), "--out", str(zipped))
    assert zipped.is_file()
    run("fetch", job_id.strip(), "--out", str(pattern))
    assert (open_frames(pattern).read(0, FRAMES) == whole).all()
    error = run("fetch", job_id.strip(), "--out", str(tmp_path / "out.mp4"), code=2)[1]
    assert "for a result in the format png; expected a name that ends in .zip" in error


def test_a_preview_is_kept_in_a_file(run: Run, asked: list[str], tmp_path: Path) -> None:
    now = tmp_path / "now.png"
    job_id, error = run(*asked, "--steps", "60", "--wait", "--preview", str(now))
    with Image.open(now) as picture:
        assert picture.format == "PNG"
        assert picture.width < 32
    told = error.splitlines()
    assert len(told) == len(set(told)), "an event that comes with a preview is told once"
    assert re.fullmatch("[0-9a-f]{32}\n", job_id)


def test_a_fetch_that_follows(run: Run, asked: list[str], tmp_path: Path) -> None:
    job_id = run(*asked, "--steps", "60")[0].strip()
    refused = run("fetch", job_id, "--out", str(tmp_path / "a.mp4"), code=2)[1]
    assert "expected a job that is done" in refused  # it is queued or running
    run("fetch", job_id, "--follow", "--out", str(tmp_path / "a.mp4"))
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
