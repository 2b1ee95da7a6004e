"""What units took is known to the next server: it can promise deadlines from its first job on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from durable import Life, other_bundle, write_media
from toy_bundle import write_toy_bundle

from wan_trt.engine import Bundle
from wan_trt.engine.errors import AdmissionError
from wan_trt.server.store import cost_rows

Begin = Callable[..., Life]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_toy_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_media(tmp_path_factory.mktemp("media"), frames=7)


@pytest.fixture
def begin(bundle: Bundle, memory_folder: Path) -> Begin:
    return lambda of=bundle: Life(of, memory_folder / "data")


def run_a_job(life: Life, media: dict[str, Path]) -> None:
    life.submit(media)
    life.run()
    life.jobs.tidy()


def test_the_next_server_refuses_at_once_what_cannot_be_in_time(
    begin: Begin, media: dict[str, Path]
) -> None:
    life = begin()
    in_vain = life.submit(media, timeout_s=1e-3)  # nobody knows yet that it is
    life.run()
    assert in_vain.latest.state.final
    run_a_job(life, media)
    measured = life.engine.measured_costs()
    assert len(measured) >= 3
    life.stop()
    life = begin()
    assert life.engine.measured_costs() == measured
    with pytest.raises(AdmissionError, match="cannot be done within"):
        life.submit(media, timeout_s=1e-3)
    life.stop()


def test_costs_of_another_bundle_or_device_are_left_out(
    bundle: Bundle, begin: Begin, media: dict[str, Path]
) -> None:
    life = begin()
    run_a_job(life, media)
    measured = life.engine.measured_costs()
    here = life.data.store.costs(bundle.digest)
    here.write({replace(key, backend="another GPU"): 1000.0 for key in measured})
    assert len(here.read()) == 2 * len(measured)
    life.stop()
    life = begin(other_bundle(bundle))
    assert life.engine.measured_costs() == {}
    life.stop()
    life = begin()
    assert life.engine.measured_costs() == measured
    life.stop()


def test_what_was_measured_last_is_kept(
    begin: Begin, media: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients choose sizes, and the store does not grow with them for ever."""
    monkeypatch.setattr(cost_rows, "REMEMBERED", 3)
    life = begin()
    run_a_job(life, media)
    costs = life.data.store.costs("other")
    (some, *_) = life.engine.measured_costs()
    for height in range(16, 160, 16):
        costs.write({replace(some, size=replace(some.size, height=height)): float(height)})
    assert sorted(costs.read().values()) == [112.0, 128.0, 144.0]
    assert life.data.store.costs(life.engine.bundle.digest).read() == {}
    life.stop()
