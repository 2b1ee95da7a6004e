"""A process that dies between any two things that it does to the disk, one after the other."""

from __future__ import annotations

import functools
import gc
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from durable import Life, write_media
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle
from wan_trt.engine.executor import Executor
from wan_trt.engine.ort import OrtExecutor, load_executor
from wan_trt.server.jobs import JobOptions
from wan_trt.server.store.database import Database
from wan_trt.server.submission import OutputFormat

MORE_THAN_A_JOB_DOES = 10_000
_UNLINK = Path.unlink


class DiedError(BaseException):
    """No `except Exception` survives a SIGKILL."""


class Disk:
    """Counts what is done to the disk. The process dies before deed number `last`: that one and
    all that would follow, also what unwinding and finalizers would do, are not done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.deeds = 0
        self._last = MORE_THAN_A_JOB_DOES
        for place, name in (
            *((os, name) for name in ("fsync", "link")),
            *((Path, name) for name in ("replace", "unlink", "mkdir")),
            (shutil, "rmtree"),
        ):
            self._watch(place, name)
        self._watch(Database, "commit")

    def die_before(self, deed: int) -> None:
        self.deeds, self._last = 0, deed

    def _watch(self, place: Any, name: str) -> None:
        self._monkeypatch.setattr(place, name, self._counted(getattr(place, name)))

    def _counted(self, act: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(act)
        def counted(*arguments: Any, **options: Any) -> Any:
            if act is _UNLINK and not arguments[0].exists():
                return act(*arguments, **options)  # nothing is done, often by finalizers
            self.deeds += 1
            if self.deeds == self._last:
                raise DiedError
            return None if self.deeds > self._last else act(*arguments, **options)

        return counted


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy", high=0.5, low=0.25)


@pytest.fixture(scope="module")
def load(bundle: Bundle) -> Callable[[Bundle, str, str], Executor]:
    """Graphs are loaded once for all lives."""

    class Shared(OrtExecutor):
        def close(self) -> None:
            """Stays for the next life."""

    @functools.cache
    def loaded(graph: str, weights: str) -> Executor:
        executor = load_executor(bundle, graph, weights, threads=1)
        executor.__class__ = Shared
        return executor

    return lambda _bundle, graph, weights: loaded(graph, weights)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_media(tmp_path_factory.mktemp("media"), frames=7)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the dead close nothing
@pytest.mark.parametrize(
    ("form", "every"), [(OutputFormat.FLOAT32, 1), (OutputFormat.UINT8, 8), (OutputFormat.MP4, 8)]
)
def test_wherever_the_process_dies_the_next_one_ends_with_the_same_bytes(
    bundle: Bundle,
    load: Callable[[Bundle, str, str], Executor],
    media: dict[str, Path],
    memory_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: OutputFormat,
    every: int,
) -> None:
    disk = Disk(monkeypatch)
    one_thread = JobOptions(checkpoint_steps=1, encode_beside=False)  # deeds have one order
    gc.freeze()  # what is there already belongs to no life

    def live(folder: Path, deaths: list[int]) -> dict[str, bytes]:
        """Processes that die, and one that does not; the client asks again until it is answered."""
        for death in [*deaths, MORE_THAN_A_JOB_DOES]:
            disk.die_before(death)
            life: Life | None = None
            try:
                life = Life(bundle, folder, one_thread, load=load)
                life.submit(media, steps=3, output_format=form, key="shot 1")
                life.run()
                results = life.results()
                left = sorted(path.name for path in life.data.job("").path.rglob("*"))
                life.data.close()
            except DiedError:
                pass
            else:
                assert death == MORE_THAN_A_JOB_DOES, "the job was over before the process died"
            life = None
            gc.collect()  # its lock is free now
        assert len(results) == 1
        assert len(left) == 2, "the job's folder with its result, and nothing else"
        return results

    undisturbed = live(memory_folder / "undisturbed", [])
    deeds = disk.deeds
    assert deeds > 50, "most of what is done is watched"
    for deed in range(1, deeds + 1, every):
        assert live(memory_folder / f"died at {deed}", [deed]) == undisturbed, deed
    generator = random.Random(0)
    for number in range(24 // every):
        deaths = [generator.randint(1, deeds // 3) for _ in range(3)]
        assert live(memory_folder / f"dies often {number}", deaths) == undisturbed, deaths
    gc.unfreeze()
