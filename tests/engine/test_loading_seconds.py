"""Loading is told apart from what a unit of work costs, also where `bind` loads a plan."""

from __future__ import annotations

import itertools
import time
from contextlib import nullcontext

import pytest
from toy_jobs import MakeBundle

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.executor import Executor
from wan_trt.engine.executors import Executors
from wan_trt.engine.lanes import Lane
from wan_trt.engine.ort import load_executor
from wan_trt.engine.planned import PlannedExecutor

SIZES = {"height": 4, "width": 6}


def planned(bundle: Bundle, graph: str, weight_set: str) -> Executor:
    return PlannedExecutor(
        bundle.manifest.graphs[graph].spec,
        serves=lambda _sizes: True,
        open_plans=lambda: load_executor(bundle, graph, weight_set, threads=1),
        load_other=lambda: pytest.fail("there is a plan"),
        load_plan=lambda: None,
        on_close=lambda: None,
        loading=nullcontext,
    )


def test_seconds_of_loading_are_the_lanes_whose_graph_it_is(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that ticks when it is read: once for the executor, once for its plan."""
    executors = Executors(make_bundle(), planned)
    coding, denoising = executors.of(Lane.CODING), executors.of(Lane.DENOISING)
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    decoder = coding.get("vae_decoder_first")
    assert coding.loading_s == 1
    decoder.bind(SIZES)
    assert coding.loading_s == 2
    assert denoising.loading_s == 0
    coding.release("vae_decoder_first")
    assert coding.loading_s == 2, "what was spent stays spent"
    executors.close()
