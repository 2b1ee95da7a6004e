"""The replay does what its report says: real jobs, each policy, the bytes of each job alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schedule_replay
from toy_bundle import write_toy_bundle

from replay.first_frame import DONE_BEFORE
from replay.jobs import TINY_MIXED, trace_requests
from replay.measured import measured_machine
from replay.replay import DoneUnit, Replay
from simulation.machines import Machine
from simulation.simulate import Simulation
from simulation.traces import TracedJob, make_trace
from wan_trt.engine.dispatch import SchedulingOptions
from wan_trt.engine.engine import Engine
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.unit import Stage

SIZES = {kind.size for kind in TINY_MIXED.kinds}
MACHINE = Machine("even", "fp32", {(stage, size): 0.001 for stage in Stage for size in SIZES})


def trace(jobs: int = 5) -> list[TracedJob]:
    return make_trace(TINY_MIXED, MACHINE, load=1.0, jobs=jobs, seed=0)


def test_the_engine_does_the_units_of_the_trace(tmp_path: Path) -> None:
    bundle, jobs = write_toy_bundle(tmp_path / "bundle"), trace()
    options = SchedulingOptions(Policy.SHORTEST, admission=False)
    with Engine(bundle, 1, scheduling=options) as engine:
        replayed = Replay(engine, jobs, trace_requests(bundle, jobs)).run(deadlines=False)
    assert sorted(replayed.outcome.finished_s) == sorted(job.job_id for job in jobs)
    for job in jobs:
        stages = [unit.stage for unit in replayed.units if unit.job_id == job.job_id]
        assert stages == [run.stage for run in job.runs for _ in range(run.units)]
    assert len(set(replayed.digests.values())) == len(jobs)
    assert replayed.outcome.end_s >= jobs[-1].arrival_s


def test_a_machine_is_the_median_of_its_units() -> None:
    size = next(iter(SIZES))
    units = [DoneUnit("a", Stage.DECODE, size, seconds) for seconds in (1.0, 2.0, 9.0)]
    machine = measured_machine(units, MACHINE)
    assert machine.pass_s[Stage.DECODE, size] == 2.0
    assert machine.pass_s[Stage.DENOISE, size] == 0.001


def test_simulated_jobs_end_at_their_deadline_where_an_engine_ends_them() -> None:
    jobs = make_trace(TINY_MIXED, MACHINE, load=3.0, jobs=40, seed=0)
    goes_on = Simulation(MACHINE, jobs, Policy.FIFO, costs_known=True).run()
    ends = Simulation(MACHINE, jobs, Policy.FIFO, ends_late=True, costs_known=True).run()
    assert not goes_on.late
    assert ends.late
    assert len(goes_on.finished_s) == len(jobs) == len(ends.finished_s) + len(ends.late)
    assert ends.end_s < goes_on.end_s


def test_the_script_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_toy_bundle(tmp_path / "bundle").path
    out = tmp_path / "replay.json"
    arguments = ["--jobs", "10", "--traces", "1", "--bundle", str(bundle), "--out", str(out)]
    assert schedule_replay.main(arguments) == 0
    result = json.loads(out.read_text())
    assert result["results_that_differ"] == []
    rows = result["policies"]
    assert len(rows) == 1 + 2 * len(Policy)
    assert all(row["jobs"] == 10 for row in rows)
    done = sum(row["jobs"] - row["late"] - row["refused"] for row in rows)
    assert result["results_compared"] == done
    assert rows[0]["late"] == rows[0]["refused"] == 0
    assert rows[0]["engine"]["longest"] == 1
    assert len(result["first_frames"]) == 3 * len(DONE_BEFORE)
    assert all(frame["waited_s"] > 0 for frame in result["first_frames"])
    assert result["machine"]["processor"]
    assert "| deadline | yes |" in capsys.readouterr().out
