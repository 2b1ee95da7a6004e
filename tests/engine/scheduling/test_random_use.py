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

from wan_trt.engine.lanes import APART, TOGETHER, Lane
from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.scheduling.costs import CostTable
from wan_trt.engine.scheduling.decision import Decision
from wan_trt.engine.scheduling.experts import OneExpert
from wan_trt.engine.scheduling.preference import Policy
from wan_trt.engine.scheduling.scheduler import Scheduler
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
        lanes=st.sampled_from([TOGETHER, APART]),
    )
    def begin(
        self, policy: Policy, load_s: float | None, admission: bool, lanes: tuple[Lane, ...]
    ) -> None:
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
        self.lanes = lanes
        self.out: dict[Lane, tuple[Decision, float]] = {}  # with the times of their ends
        self.arrived: dict[str, float] = {}
        self.promised: dict[str, float] = {}  # deadlines that were accepted
        self.fifo: dict[str, float] = {}  # seconds, if first come were first served
        self.began: dict[str, float] = {}  # the last unit of jobs
        self.held: dict[str, float] = {}  # jobs, and when every lane was free
        self.paused: dict[str, float] = {}  # seconds that went to others while jobs were held
        self.wasted: dict[str, float] = {}  # seconds of units and loads that were in vain meanwhile

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
        for held in self.held:
            self.count_pause(held)
        wanted = submission(job_id, work, deadline_s, owner, priority)
        refusal = self.scheduler.submit(wanted, self.now)
        if refusal is not None:
            assert deadline_s is not None
            assert refusal.possible_s is not None
            assert refusal.possible_s > deadline_s
            return
        self.units[job_id] = left
        self.arrived[job_id] = self.now
        self.fifo[job_id] = (
            self.free_s - self.now + sum(self.seconds(left) for left in self.units.values())
        )
        if self.exact and deadline_s is not None and self.scheduler.admission:
            self.promised[job_id] = deadline_s

    @precondition(lambda self: self.units)
    @rule(first=st.sampled_from(APART))
    def begin_units(self, first: Lane) -> None:
        """Lanes are asked in any order."""
        for lane in sorted(self.lanes, key=lambda lane: lane is not first):
            self.begin_unit(lane)
        assert self.out or self.units.keys() == self.held.keys(), "idle with work to do"

    @precondition(lambda self: self.units and self.out)
    @rule(data=st.data())
    def begin_one(self, data: st.DataObject) -> None:
        """The other lane may be asked later."""
        self.begin_unit(data.draw(st.sampled_from(self.lanes)))

    def begin_unit(self, lane: Lane) -> None:
        if lane in self.out:
            return
        decision = self.scheduler.next(self.now, lane.stages)
        if decision is None:
            return
        assert decision.job_id not in self.held
        assert all(decision.job_id != out.job_id for out, _ in self.out.values()), "out twice"
        left = self.units[decision.job_id]
        assert (decision.stage, decision.expert) == (left[0].stage, left[0].expert)
        assert decision.stage in lane.stages
        load_s = self.load_s if decision.load else 0.0
        self.out[lane] = decision, self.now + decision.seconds + load_s
        self.began[decision.job_id] = self.now

    @property
    def next_lane(self) -> Lane:
        """Whose unit ends next."""
        return min(self.out, key=lambda lane: self.out[lane][1])

    @precondition(lambda self: self.out)
    @rule(share=st.floats(0, 1))
    def time_passes(self, share: float) -> None:
        self.now += share * (self.out[self.next_lane][1] - self.now)

    @precondition(lambda self: self.out)
    @rule(factor=st.floats(0.7, 2.0))
    def end_unit(self, factor: float) -> None:
        self.end_out(1.0 if self.exact else factor)

    @precondition(lambda self: self.out)
    @rule(turns=st.integers(1, 12))
    def go_on(self, turns: int) -> None:
        """Most of a machine's time."""
        for _ in range(turns):
            if self.out:
                self.end_out(1.0)
            if self.units.keys() - self.held.keys():
                self.begin_units(APART[0])

    @precondition(lambda self: self.units.keys() - self.held.keys())
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        """What was begun in vain delays all."""
        job_id = data.draw(st.sampled_from(sorted(self.units.keys() - self.held.keys())))
        for lane, (decision, _) in list(self.out.items()):
            if decision.job_id == job_id:
                del self.out[lane]
                self.scheduler.give_back(decision, self.now)
                if wasted_s := self.now - self.began[job_id]:
                    self.delay_all(wasted_s)
        self.scheduler.hold(job_id, self.now)
        self.held[job_id] = self.free_s
        self.promised.pop(job_id, None)

    def delay_all(self, seconds: float) -> None:
        for job_id in self.units:
            self.wasted[job_id] = self.wasted.get(job_id, 0.0) + seconds
        self.promised.clear()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.let_go(data.draw(st.sampled_from(sorted(self.held))))

    def let_go(self, job_id: str) -> None:
        """Whoever made use of the time may have loaded an expert, and has to again."""
        self.scheduler.release(job_id, self.now)
        self.count_pause(job_id)
        del self.held[job_id]
        if self.load_s:
            self.delay_all(self.load_s)

    def count_pause(self, job_id: str) -> None:
        """Also what is left of units that began in it."""
        pause_s = max(0.0, self.free_s - self.held[job_id])
        self.paused[job_id] = self.paused.get(job_id, 0.0) + pause_s
        self.held[job_id] = self.free_s

    @property
    def free_s(self) -> float:
        """When every lane is free."""
        return max((ends for _, ends in self.out.values()), default=self.now)

    @precondition(lambda self: not self.out and self.units.keys() == self.held.keys())
    @rule(seconds=st.floats(0.0, 50.0))
    def nothing_to_do(self, seconds: float) -> None:
        self.now += seconds

    def end_out(self, factor: float) -> None:
        lane = self.next_lane
        decision, self.now = self.out.pop(lane)
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
        self.out = {lane: out for lane, out in self.out.items() if out[0].job_id != job_id}

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
        for job_id in list(getattr(self, "held", ())):
            self.let_go(job_id)
        while getattr(self, "units", None):
            self.begin_units(APART[0])
            self.end_out(1.0)


class ChangingCostsModel(SchedulerModel):
    """Units take longer or shorter than expected: the bound is then another, all else holds."""

    exact = False


def _settings(examples: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=40, deadline=None)


def test_random_use() -> None:
    run_state_machine_as_test(SchedulerModel, settings=_settings(150))


def test_random_use_with_costs_that_change() -> None:
    run_state_machine_as_test(ChangingCostsModel, settings=_settings(60))
