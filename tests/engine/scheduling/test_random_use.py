"""Random submissions, cancellations, failures and costs: nothing is lost, and nobody starves."""

from __future__ import annotations

import math
from itertools import groupby

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from scheduled import key, runs, submission

from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.scheduling.costs import CostTable
from wan_trt.engine.scheduling.experts import OneExpert
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Decision, Scheduler
from wan_trt.engine.scheduling.work import Run

LARGE = VideoSize(720, 1280, 77)
BOUND = 1.5  # less slack than usual: the bound is met more often
ROUNDING_S = 1e-6


class SchedulerModel(RuleBasedStateMachine):
    """Beside the scheduler stands a list of jobs, their units, and when each would end if first
    come were first served."""

    exact = True

    @initialize(
        policy=st.sampled_from(Policy),
        load_s=st.sampled_from([None, 0.5, 3.0]),
        admission=st.booleans(),
    )
    def begin(self, policy: Policy, load_s: float | None, admission: bool) -> None:
        self.costs = CostTable(lambda key: key.size.height / 240, operations_per_s=1.0)
        self.load_s = load_s or 0.0
        self.scheduler = Scheduler(
            self.costs,
            policy,
            one_expert=None if load_s is None else OneExpert(load_s),
            admission=admission,
            bound=BOUND,
        )
        self.now = 0.0
        self.count = 0
        self.units: dict[str, list[Run]] = {}  # what is left of live jobs
        self.out: Decision | None = None
        self.ends = 0.0
        self.arrived: dict[str, float] = {}
        self.promised: dict[str, float] = {}  # deadlines that were accepted
        self.fifo: dict[str, float] = {}  # seconds, if first come were first served
        self.held: dict[str, float] = {}  # jobs, since when
        self.paused: dict[str, float] = {}  # seconds that jobs were held
        self.wasted: dict[str, float] = {}  # seconds of units that were begun in vain meanwhile

    @rule(
        high=st.integers(1, 4),
        low=st.integers(1, 4),
        segments=st.integers(1, 2),
        large=st.booleans(),
        owner=st.sampled_from("ab"),
        priority=st.sampled_from([0.5, 1.0, 4.0]),
        patience=st.none() | st.floats(0.1, 6.0),
    )
    def submit(
        self,
        high: int,
        low: int,
        segments: int,
        large: bool,
        owner: str,
        priority: float,
        patience: float | None,
    ) -> None:
        work = runs(high, low, segments)
        if large:
            work = tuple(
                Run(key(run.stage, run.expert, LARGE), run.units, run.passes, run.expert)
                for run in work
            )
        left = [Run(run.key, 1, run.passes, run.expert) for run in work for _ in range(run.units)]
        own_s = self.seconds(left)
        job_id = f"job-{self.count}"
        deadline_s = None if patience is None else self.now + patience * own_s
        self.count += 1
        wanted = submission(job_id, work, deadline_s, owner, priority)
        refusal = self.scheduler.submit(wanted, self.now)
        if refusal is not None:
            assert deadline_s is not None
            assert refusal.possible_s is not None
            assert refusal.possible_s > deadline_s
            return
        self.units[job_id] = left
        self.arrived[job_id] = self.now
        out_s = self.ends - self.now if self.out else 0.0
        self.fifo[job_id] = out_s + sum(self.seconds(left) for left in self.units.values())
        if self.exact and deadline_s is not None and self.scheduler.admission:
            self.promised[job_id] = deadline_s

    @precondition(lambda self: self.out is None and self.units)
    @rule()
    def begin_unit(self) -> None:
        decision = self.scheduler.next(self.now)
        if decision is None:
            assert self.units.keys() == self.held.keys(), "idle with work to do"
            return
        assert decision.job_id not in self.held
        left = self.units[decision.job_id]
        assert (decision.stage, decision.expert) == (left[0].stage, left[0].expert)
        self.out = decision
        self.began = self.now
        self.ends = self.now + decision.seconds + (self.load_s if decision.load else 0.0)

    @precondition(lambda self: self.out is not None)
    @rule(share=st.floats(0, 1))
    def time_passes(self, share: float) -> None:
        self.now += share * (self.ends - self.now)

    @precondition(lambda self: self.out is not None)
    @rule(factor=st.floats(0.7, 2.0))
    def end_unit(self, factor: float) -> None:
        self.end_out(1.0 if self.exact else factor)

    @precondition(lambda self: self.out is not None)
    @rule(turns=st.integers(1, 12))
    def go_on(self, turns: int) -> None:
        """Most of a machine's time."""
        self.end_out(1.0)
        for _ in range(turns):
            if self.units.keys() - self.held.keys():
                self.begin_unit()
                self.end_out(1.0)

    @precondition(lambda self: self.units.keys() - self.held.keys())
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        """What was begun in vain delays all."""
        job_id = data.draw(st.sampled_from(sorted(self.units.keys() - self.held.keys())))
        if self.out is not None and self.out.job_id == job_id:
            decision, self.out = self.out, None
            self.scheduler.give_back(decision, self.now)
            for other in self.units:
                self.wasted[other] = self.wasted.get(other, 0.0) + self.now - self.began
            if self.now > self.began:
                self.promised.clear()
        self.scheduler.hold(job_id, self.now)
        self.held[job_id] = self.now
        self.promised.pop(job_id, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.let_go(data.draw(st.sampled_from(sorted(self.held))))

    def let_go(self, job_id: str) -> None:
        self.scheduler.release(job_id, self.now)
        held_s = self.now - self.held.pop(job_id)
        self.paused[job_id] = self.paused.get(job_id, 0.0) + held_s

    @precondition(lambda self: self.out is None and self.units.keys() == self.held.keys())
    @rule(seconds=st.floats(0.0, 50.0))
    def nothing_to_do(self, seconds: float) -> None:
        self.now += seconds

    def end_out(self, factor: float) -> None:
        assert self.out is not None
        decision, self.out, self.now = self.out, None, self.ends
        self.units[decision.job_id].pop(0)
        goes_on = self.scheduler.done(decision, decision.seconds * factor)
        assert goes_on == bool(self.units[decision.job_id])
        if not goes_on:
            self.end(decision.job_id)

    def end(self, job_id: str) -> None:
        del self.units[job_id]
        taken_s = self.now - self.arrived[job_id]
        if self.exact:
            slipped_s = self.paused.get(job_id, 0.0) + self.wasted.get(job_id, 0.0)
            assert taken_s <= BOUND * self.fifo[job_id] + slipped_s + ROUNDING_S, "it starved"
            assert self.now <= self.promised.get(job_id, math.inf) + ROUNDING_S, "promise broken"

    @precondition(lambda self: self.units)
    @rule(data=st.data())
    def cancel_or_fail(self, data: st.DataObject) -> None:
        """A unit that is out ends at once, as a failing one does."""
        job_id = data.draw(st.sampled_from(sorted(self.units)))
        self.scheduler.cancel(job_id)
        del self.units[job_id]
        self.held.pop(job_id, None)
        if self.out is not None and self.out.job_id == job_id:
            self.out = None

    @invariant()
    def no_job_is_lost(self) -> None:
        if hasattr(self, "scheduler"):
            assert len(self.scheduler) == len(self.units)
            self.scheduler.check()

    def seconds(self, left: list[Run]) -> float:
        """As first come, first served would do them: a load for each change of expert."""
        loads = sum(expert is not None for expert, _ in groupby(run.expert for run in left))
        return loads * self.load_s + sum(self.costs.cost(r.key).seconds * r.passes for r in left)

    def teardown(self) -> None:
        if self.out is not None:
            self.end_out(1.0)
        for job_id in list(self.held):
            self.let_go(job_id)
        while self.units:
            self.begin_unit()
            self.end_out(1.0)
        assert self.scheduler.next(self.now) is None


class ChangingCostsModel(SchedulerModel):
    """Units take longer or shorter than expected: the bound is then another, all else holds."""

    exact = False


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=40, deadline=None)


def test_random_use() -> None:
    run_state_machine_as_test(SchedulerModel, settings=_settings(150))


def test_random_use_with_costs_that_change() -> None:
    run_state_machine_as_test(ChangingCostsModel, settings=_settings(60))
