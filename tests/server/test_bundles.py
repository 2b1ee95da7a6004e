"""Bundles come and go while a server works, and a bad one disturbs nobody."""

from __future__ import annotations

import gc
import shutil
import time
import urllib.request
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from durable import write_media
from server_processes import address_of, server_process
from toy_bundle import write_toy_bundle
from toy_bundles import (
    WRONG,
    another_weight,
    loaded,
    no_manifest,
    open_to_bundles,
    status_of,
    until_gone,
)
from toy_server import toy_submission

from wan_trt.cli.main import main
from wan_trt.engine import Bundle, Engine, JobState
from wan_trt.engine.errors import BundleError, CancelledError, InputError, NotFoundError
from wan_trt.engine.lanes import Lane
from wan_trt.engine.manifest import SHARED
from wan_trt.engine.models import RUN_ONCE
from wan_trt.server.access_file import Entry, entry_text
from wan_trt.server.client import Client
from wan_trt.server.errors import NotReadyError, PermissionDeniedError, UnavailableError
from wan_trt.server.principal import Principal
from wan_trt.server.security import SecurityOptions
from wan_trt.server.tokens import hash_of_token, new_token

LONG, SHORT = 120, 3


@pytest.fixture
def first(memory_folder: Path) -> Bundle:
    return write_toy_bundle(memory_folder / "bundles" / "first", high=0.5)


@pytest.fixture
def second(first: Bundle) -> Bundle:
    return write_toy_bundle(first.path.parent / "second", high=0.25)


@pytest.fixture
def media(memory_folder: Path) -> dict[str, Path]:
    return write_media(memory_folder, frames=9)


def submit(client: Client, media: dict[str, Path], bundle: str = "", steps: int = SHORT) -> str:
    return client.submit(replace(toy_submission(client, media, steps=steps), bundle=bundle))


def result(client: Client, job_id: str) -> bytes:
    assert client.wait(job_id).state is JobState.DONE
    return b"".join(client.fetch_chunks(job_id))


def until_running(client: Client, job_id: str) -> None:
    next(event for event in client.watch(job_id) if event.step)


def test_a_bundle_joins_while_jobs_run(
    first: Bundle, second: Bundle, media: dict[str, Path], memory_folder: Path
) -> None:
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        alone = result(client, submit(client, media, steps=LONG))
        long = submit(client, media, steps=LONG)
        until_running(client, long)
        status = loaded(client, second.path)
        assert (status.state, status.digest, status.model) == (
            "serving",
            second.digest,
            "animate",
        )
        short = submit(client, media, "second")
        ours, theirs = submit(client, media), submit(client, media, "first")
        assert result(client, long) == alone
        assert client.get(short).bundle == "second"
        assert client.get(ours).bundle == "first"
        assert result(client, short) != result(client, ours) == result(client, theirs)
    with open_to_bundles(second, memory_folder / "other") as (_, client):
        undisturbed = result(client, submit(client, media))
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        assert result(client, short) == undisturbed
        assert [status.name for status in client.bundles()] == ["first", "second"]
        assert result(client, submit(client, media, "second")) == undisturbed


def test_a_bundle_that_drains_ends_its_jobs_and_takes_none(
    first: Bundle, second: Bundle, media: dict[str, Path], memory_folder: Path
) -> None:
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        loaded(client, second.path)
        running = submit(client, media, "second", steps=LONG)
        until_running(client, running)
        status = client.drain_bundle("second")
        assert (status.state, status.unfinished_jobs) == ("draining", 1)
        with pytest.raises(NotReadyError, match="second is draining"):
            submit(client, media, "second")
        with pytest.raises(NotReadyError, match="1 unfinished jobs"):
            client.remove_bundle("second")
        client.drain_bundle("first")
        with pytest.raises(UnavailableError, match="no bundle takes jobs"):
            submit(client, media)
        assert client.wait(running).state is JobState.DONE
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        assert status_of(client, "first").state == "serving", "its operator began with it"
        assert status_of(client, "second").state == "draining"
        assert client.add_bundle(str(second.path)).state == "serving"
        result(client, submit(client, media, "second"))


def test_a_bundle_leaves_and_gives_its_memory_back(
    first: Bundle, second: Bundle, media: dict[str, Path], memory_folder: Path
) -> None:
    with open_to_bundles(first, memory_folder / "data") as (server, client):
        loaded(client, second.path)
        engine = server._bundles.served[1].engine
        loads = engine._executors
        graphs = second.manifest.graphs.items()
        kept_sets = {(name, each) for name, graph in graphs for each in graph.weights}
        kept_sets -= {(name, SHARED) for name in RUN_ONCE}
        assert set(loads.loaded) == kept_sets, "none that is kept is left for a job to open"
        kept = submit(client, media, "second")
        result(client, kept)
        running = submit(client, media, "second", steps=LONG)
        until_running(client, running)
        assert engine.memory_in_use.pages.held
        client.remove_bundle("second", cancel_jobs=True)
        with pytest.raises(CancelledError):
            client.wait(running)
        until_gone(client, "second")
        assert loads.loaded == ()
        pages = engine.memory_in_use.pages
        assert pages.free == pages.pages
        gone = weakref.ref(engine)
        del engine, loads
        deadline_s = time.monotonic() + 10  # the last call's thread may be on its way out
        while gone() is not None and time.monotonic() < deadline_s:
            gc.collect()
            time.sleep(0.01)
        assert gone() is None
        with pytest.raises(NotFoundError, match="no bundle 'second'"):
            submit(client, media, "second")
        with pytest.raises(NotReadyError, match="only bundle"):
            client.remove_bundle("first")
        assert client.get(kept).bundle == "second"
        assert result(client, kept)
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        assert [status.name for status in client.bundles()] == ["first"]
        assert client.get(kept).bundle == "second"


def test_the_first_one_may_leave_too(
    first: Bundle, second: Bundle, media: dict[str, Path], memory_folder: Path
) -> None:
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        loaded(client, second.path, "next")
        client.remove_bundle("first")
        until_gone(client, "first")
        job_id = submit(client, media)
        assert client.get(job_id).bundle == "next"
        result(client, job_id)


@pytest.mark.parametrize("spoil", WRONG, ids=lambda spoil: spoil.__name__)
def test_a_bad_bundle_is_told_and_nobody_notices(
    spoil: Callable[[Bundle], None],
    first: Bundle,
    second: Bundle,
    media: dict[str, Path],
    memory_folder: Path,
) -> None:
    shutil.copytree(second.path, memory_folder / "sound")
    spoil(second)
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        running = submit(client, media, steps=LONG)
        until_running(client, running)
        status = loaded(client, second.path)
        assert status.state == "broken"
        assert isinstance(status.error, BundleError), status.error
        assert status.error.action
        with pytest.raises(NotReadyError, match="second is broken"):
            submit(client, media, "second")
        assert client.wait(running).state is JobState.DONE
        shutil.rmtree(second.path)
        shutil.copytree(memory_folder / "sound", second.path)
        assert loaded(client, second.path).state == "serving"
        result(client, submit(client, media, "second"))


def test_what_nobody_may_add(first: Bundle, second: Bundle, memory_folder: Path) -> None:
    outside = memory_folder / "outside"
    shutil.copytree(second.path, outside)
    root = first.path.parent
    (root / "link").symlink_to(outside)
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        for path in (outside, root / "link", root / ".." / "outside", root, "second", "/etc\0"):
            with pytest.raises(PermissionDeniedError):
                client.add_bundle(str(path))
        for name in ("a/b", ".", "x" * 65, "é"):
            with pytest.raises(InputError, match="letters, digits"):
                client.add_bundle(str(second.path), name)
        with pytest.raises(NotReadyError, match="'first' is serving already"):
            client.add_bundle(str(second.path), "first")
        status = loaded(client, first.path, "again")
        assert status.state == "broken"
        assert "the same bundle as 'first'" in str(status.error)
        client.remove_bundle("again")
        assert [status.name for status in client.bundles()] == ["first"]
    with open_to_bundles(first, memory_folder / "data", bundle_roots=()) as (_, client):
        for change in (client.add_bundle, client.drain_bundle, client.remove_bundle):
            with pytest.raises(PermissionDeniedError, match="cannot be changed"):
                change("first")


def test_only_admins_change_bundles(first: Bundle, second: Bundle, memory_folder: Path) -> None:
    tokens = {name: new_token() for name in ("anna", "root")}
    access = memory_folder / "access.toml"
    access.write_text(
        "".join(
            entry_text(Entry(Principal(name, name == "root"), (hash_of_token(token),)))
            for name, token in tokens.items()
        )
    )
    security = SecurityOptions(access=access)
    with (
        open_to_bundles(first, memory_folder / "data", security=security) as (server, _),
        Client(str(server.address), token=tokens["anna"]) as anna,
        Client(str(server.address), token=tokens["root"]) as root,
    ):
        for change in (anna.add_bundle, anna.drain_bundle, anna.remove_bundle):
            with pytest.raises(PermissionDeniedError, match="anna is no admin"):
                change(str(second.path))
        assert loaded(root, second.path).state == "serving"
        assert [status.name for status in anna.bundles()] == ["first", "second"]


def test_an_engine_that_stops_by_a_bug_takes_no_other_with_it(
    first: Bundle,
    second: Bundle,
    media: dict[str, Path],
    memory_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = Engine.step

    def broken(engine: Engine, lane: Lane = Lane.EVERY) -> bool:
        if engine.bundle.digest == second.digest:
            raise RuntimeError("a wheel came off")
        return step(engine, lane)

    with open_to_bundles(first, memory_folder / "data") as (server, client):
        loaded(client, second.path)
        doomed = submit(client, media, "second", steps=LONG)
        until_running(client, doomed)
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "step", broken)
            with pytest.raises(UnavailableError, match="a wheel came off"):
                client.wait(doomed)
            result(client, submit(client, media))
            assert server.alive
            assert status_of(client, "second").state == "broken"
            with pytest.raises(NotReadyError, match="stopped by a bug"):
                client.add_bundle(str(second.path))
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        result(client, doomed)


def test_two_bundles_survive_a_kill(
    first: Bundle, second: Bundle, media: dict[str, Path], memory_folder: Path
) -> None:
    data, root = memory_folder / "data", ("--bundle-root", str(first.path.parent))
    shutil.copytree(second.path, memory_folder / "sound")
    with open_to_bundles(first, memory_folder / "calm") as (_, client):
        loaded(client, second.path)
        calm = [result(client, submit(client, media, name, LONG)) for name in ("first", "second")]
    with (
        server_process(first.path, data, *root) as (_, stdout),
        Client(address_of(stdout)) as client,
    ):
        loaded(client, second.path)
        jobs = [submit(client, media, name, LONG) for name in ("first", "second")]
        for job_id in jobs:
            until_running(client, job_id)
    with (
        server_process(first.path, data, *root) as (_, stdout),
        Client(address_of(stdout)) as client,
    ):
        assert [status.state for status in client.bundles()] == ["serving", "serving"]
        cancelled = submit(client, media, "second", LONG)
        for job_id in (*jobs, cancelled):
            until_running(client, job_id)
    no_manifest(second)
    with (
        server_process(first.path, data, *root) as (_, stdout),
        Client(address_of(stdout)) as client,
    ):
        broken = status_of(client, "second")
        assert (broken.state, broken.unfinished_jobs) == ("broken", 2)
        waiting = client.get(jobs[1])
        assert waiting.state is JobState.QUEUED
        assert isinstance(waiting.latest.error, BundleError)
        client.cancel(cancelled)
        assert client.get(cancelled).state is JobState.CANCELLED
        assert result(client, jobs[0]) == calm[0]
        shutil.rmtree(second.path)
        shutil.copytree(memory_folder / "sound", second.path)
        another_weight(second)
        assert loaded(client, second.path).state == "broken"
        assert client.get(jobs[1]).state is JobState.QUEUED
        another_weight(second)  # once more is right again
        assert loaded(client, second.path).state == "serving"
        assert result(client, jobs[1]) == calm[1]


def test_jobs_of_a_broken_bundle_end_with_it(
    first: Bundle, second: Bundle, media: dict[str, Path], memory_folder: Path
) -> None:
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        loaded(client, second.path)
        job_id = submit(client, media, "second", LONG)
        late = client.submit(
            replace(toy_submission(client, media, steps=LONG, timeout_s=1000.0), bundle="second")
        )
    no_manifest(second)
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        assert client.get(late).state is JobState.QUEUED
        with pytest.raises(NotReadyError, match="2 unfinished"):
            client.remove_bundle("second")
        client.remove_bundle("second", cancel_jobs=True)
        until_gone(client, "second")
        assert client.get(job_id).state is JobState.CANCELLED
        assert client.get(late).state is JobState.CANCELLED


def test_a_gpu_serves_one_bundle(
    first: Bundle,
    second: Bundle,
    media: dict[str, Path],
    memory_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with open_to_bundles(first, memory_folder / "data") as (_, client):
        loaded(client, second.path)
        job_id = submit(client, media, "second", LONG)
    with open_to_bundles(first, memory_folder / "data", open_engine=None) as (_, client):
        broken = status_of(client, "second")
        assert "one bundle at a time on a GPU" in str(broken.error)
        assert client.get(job_id).state is JobState.QUEUED
        result(client, submit(client, media))
    settings = ["--device", "cuda", "--bundle-root", str(memory_folder), "--check-config"]
    assert main(["serve", str(first.path), *settings]) > 0
    assert "--bundle-root: --device cuda; expected one bundle" in capsys.readouterr().err


def test_commands_change_the_bundles(
    first: Bundle,
    second: Bundle,
    media: dict[str, Path],
    memory_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with open_to_bundles(first, memory_folder / "data") as (server, client):
        at = ("--server", str(server.address))
        assert main(["bundles", "add", str(second.path), "--name", "v2", *at]) == 0
        head, added = capsys.readouterr().out.splitlines()
        assert head.split()[:3] == ["BUNDLE", "STATE", "JOBS"]
        assert added.split()[:5] == ["v2", "serving", "0", "animate", "fp32"]
        assert main(["bundles", "list", *at]) == 0
        _, *listed = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in listed] == ["first", "v2"]
        assert listed[1] == added
        files = [word for name, path in media.items() for word in (f"--{name}", str(path))]
        wish = ["submit", *files, "--segment-frames", "5", "--steps", str(LONG), "--bundle", "v2"]
        assert main([*wish, *at]) == 0
        job_id = capsys.readouterr().out.strip()
        assert main(["bundles", "drain", "v2", *at]) == 0
        assert main(["bundles", "remove", "v2", *at]) == 0
        assert client.get(job_id).state is JobState.DONE, "it waited for the job"
        told = capsys.readouterr()
        assert told.out.splitlines()[-1] == "v2  gone"
        assert told.err.splitlines() in ([], ["v2: 1 job to go"]), "once, however long it waits"
        no_manifest(second)
        assert main(["bundles", "add", str(second.path), *at]) == 2
        assert "has no manifest.json" in capsys.readouterr().err
        assert main(["bundles", "list", *at]) == 0
        row = capsys.readouterr().out.splitlines()[2]
        assert row.split() == ["second", "broken", "0", "-"], "what nobody knows is left empty"
        assert main(["bundles", "remove", "second", *at, "--cancel-jobs"]) == 0
        assert main(["bundles", "drain", *at]) == 2
        assert main(["bundles", "list", "--name", "x", *at]) == 2


def test_health_and_metrics_tell_of_each(
    first: Bundle, second: Bundle, memory_folder: Path
) -> None:
    with open_to_bundles(first, memory_folder / "data") as (server, client):
        loaded(client, second.path)
        client.require_serving(bundle="second")
        client.drain_bundle("second")
        client.require_serving(bundle="first")
        with pytest.raises(UnavailableError):
            client.require_serving(bundle="second")
        client.require_serving()
        with pytest.raises(NotFoundError):
            client.require_serving(bundle="third")
        port = server.telemetry.status_port
        assert port is not None
        with urllib.request.urlopen(f"http://{port.address}/metrics", timeout=10) as response:
            told = response.read().decode().splitlines()
        assert 'wan_trt_bundles{bundle="first",state="serving"} 1.0' in told
        assert 'wan_trt_bundles{bundle="second",state="draining"} 1.0' in told
