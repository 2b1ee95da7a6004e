"""The scheduling benchmark does what its report says: the same traces for all, and real figures."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import schedule

from simulation.figures import figures, jain
from simulation.machines import MACHINES, Machine
from simulation.report import Case, targets
from simulation.simulate import Outcome, Simulation
from simulation.traces import MIXED, PREVIEW, TRAFFICS, TracedJob, kind_runs, make_trace
from wan_trt.engine.request import ExpertName
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.unit import Stage

H100, FROM_DISK = MACHINES[0], MACHINES[-1]


def test_a_trace_is_the_same_for_every_policy_and_as_busy_as_it_says() -> None:
    trace = make_trace(MIXED, H100, load=0.85, jobs=4000, seed=1)
    assert trace == make_trace(MIXED, H100, load=0.85, jobs=4000, seed=1)
    work_s = sum(job.own_s for job in trace)
    assert work_s / trace[-1].arrival_s == pytest.approx(0.85, rel=0.05)
    previews = sum(job.kind == "preview" for job in trace)
    assert previews / len(trace) == pytest.approx(PREVIEW.share, rel=0.1)
    arrivals = [job.arrival_s for job in trace]
    assert arrivals == sorted(arrivals)


def test_bursts_come_as_often_as_single_jobs() -> None:
    bursty = make_trace(TRAFFICS[1], H100, load=0.85, jobs=6000, seed=1)
    work_s = sum(job.own_s for job in bursty)
    assert work_s / bursty[-1].arrival_s == pytest.approx(0.85, rel=0.1)
    between = sorted(b.arrival_s - a.arrival_s for a, b in pairwise(bursty))
    mean_s = bursty[-1].arrival_s / len(bursty)
    assert between[len(between) // 2] < 0.1 * mean_s


def test_four_steps_are_two_of_each_expert() -> None:
    runs = kind_runs(PREVIEW, 1, H100)
    assert [(run.stage, run.expert, run.units) for run in runs] == [
        (Stage.CONDITIONING, None, 1),
        (Stage.DENOISE, ExpertName.HIGH, 2),
        (Stage.DENOISE, ExpertName.LOW, 2),
        (Stage.DECODE, None, 1),
    ]
    vae_s = sum(H100.seconds(run.key) for run in runs if run.expert is None)
    assert vae_s == pytest.approx(3.9)


def traced(job_id: str, arrival_s: float, machine: Machine, owner: str = "studio") -> TracedJob:
    runs = kind_runs(PREVIEW, 1, machine)
    own_s = sum(machine.seconds(run.key) * run.units for run in runs)
    deadline_s = arrival_s + 1.5 * own_s
    return TracedJob(job_id, "preview", owner, arrival_s, deadline_s, own_s, runs, (1.0,) * 6)


def test_first_come_first_served_takes_what_can_be_added_up() -> None:
    trace = [traced("a", 10.0, H100), traced("b", 11.0, H100)]
    outcome = Simulation(H100, trace, Policy.FIFO).run()
    own_s = 4 * 2.2 + 3.9
    assert outcome.finished_s == pytest.approx({"a": 10 + own_s, "b": 10 + 2 * own_s})
    assert (outcome.loads, outcome.changes, outcome.units) == (0, 0, 12)
    result = figures([trace], [outcome], [outcome])
    assert (result.met, result.longest) == (0.5, 1.0)
    assert result.mean_s == pytest.approx((own_s + 2 * own_s - 1) / 2)
    assert result.goodput == pytest.approx(0.5)


def test_a_prefetched_expert_is_there_sooner() -> None:
    """A load from disk takes as long as a step here: what was fetched beside it is not waited
    for, as far as there is room."""
    trace = [traced("a", 0.0, FROM_DISK)]
    outcome = Simulation(FROM_DISK, trace, Policy.FIFO).run()
    load_s = FROM_DISK.load_s
    assert load_s is not None
    assert outcome.loads == 2
    assert outcome.loading_s == pytest.approx(load_s + (1 - FROM_DISK.prefetched) * load_s)


def test_fairness_is_of_service_by_an_equal_share() -> None:
    assert jain([1, 1, 1]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    crowd = [traced(f"{number}", 0.0, H100) for number in range(8)]
    trace = [*crowd, traced("guest", 0.0, H100, owner="guest")]

    def fairness(policy: Policy) -> float:
        outcome = Simulation(H100, trace, policy).run()
        return figures([trace], [outcome], [outcome]).fairness

    assert fairness(Policy.FIFO) < 0.8 < 0.95 < fairness(Policy.FAIR)


def test_a_missed_target_is_told() -> None:
    trace = [traced("a", 0.0, H100), traced("b", 0.0, H100)]
    swift = Outcome(finished_s={"a": 10.0, "b": 12.0}, end_s=12.0)
    slow = Outcome(finished_s={"a": 10.0, "b": 40.0}, end_s=40.0)

    def case(policy: Policy, outcome: Outcome) -> Case:
        result = figures([trace], [outcome], [swift])
        return Case("H100", "mixed", 0.85, policy, False, result)

    told = targets([case(Policy.FIFO, swift), case(Policy.DEADLINE, slow)], [])
    assert [line.split(": ")[1] for line in told] == [
        "longest 3.33 of FIFO's",
        "met 0.50 times FIFO's, of at most 1.00",
    ]


def test_the_script_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(schedule, "MACHINES", (H100, FROM_DISK))
    monkeypatch.setattr(schedule, "SWEEP", (0.5, 1.0))
    out = tmp_path / "schedule.json"
    arguments = ["--jobs", "12", "--seeds", "2", "--decisions", "150", "--live", "20"]
    assert schedule.main([*arguments, "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert len(result["cases"]) == 2 * len(TRAFFICS) * 2 * len(Policy)
    assert len(result["sweep"]) == 2 * 2 * len(Policy)
    assert len(result["costs_known"]) == 2 * len(Policy)
    assert len(result["uneven"]) == 3 * 2 * len(Policy)
    for row in result["uneven"]:
        assert row["late"] + row["refused"] + row["met"] == pytest.approx(1)
    assert all(0 <= case["figures"]["met"] <= 1 for case in result["cases"])
    assert {each["live"] for each in result["overhead"]} == {20}
    assert all(each["mean_us"] > 0 for each in result["overhead"])
    assert result["machine"]["processor"]
    assert "| H100, FP8, both experts | mixed | 0.85 |" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == [
        "schedule_goodput.svg",
        "schedule_latency.svg",
        "schedule_longest.svg",
        "schedule_met.svg",
    ]
