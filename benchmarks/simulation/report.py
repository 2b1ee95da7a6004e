"""The simulator's tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulation.figures import Figures
from simulation.overhead import Overhead
from wan_trt.calibration.report.plots import Axis, Series, line_plot
from wan_trt.engine.scheduling.preference import Policy

TARGET_MET, TARGET_LONGEST, TARGET_US = 1.44, 3.0, 50.0
COLOURS = {
    Policy.FIFO: "#8a929c",
    Policy.SHORTEST: "#1f6fb2",
    Policy.DEADLINE: "#178f52",
    Policy.FAIR: "#b26a1f",
}
_STYLE = (
    "<style>text{font:11px sans-serif;fill:#333}.title{font-size:14px;font-weight:bold}"
    "svg{background:#fff}</style>"
)


@dataclass(frozen=True)
class Case:
    """One policy over one traffic on one machine, all seeds together."""

    machine: str
    traffic: str
    load: float
    policy: Policy
    admission: bool
    figures: Figures

    @property
    def place(self) -> tuple[str, str, float]:
        return (self.machine, self.traffic, self.load)


def policy_table(cases: Sequence[Case]) -> str:
    """Of one machine, traffic and load."""
    rows = [
        "| policy | admission | deadlines met | mean, s | P99, s | goodput | fairness "
        "| loads a job | came back | longest by FIFO's |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        f = case.figures
        rows.append(
            f"| {case.policy.value} | {'yes' if case.admission else ''} | {f.met:.1%} "
            f"| {f.mean_s:.0f} | {f.p99_s:.0f} | {f.goodput:.1%} | {f.fairness:.3f} "
            f"| {f.loads:.2f} | {f.comebacks:.2f} | {f.longest:.2f} |"
        )
    return "\n".join(rows)


def summary_table(cases: Sequence[Case]) -> str:
    """FIFO and DEADLINE at every place: met, and whether the targets are."""
    rows = [
        "| machine | traffic | load | FIFO met | deadline met | ratio | longest | with admission "
        "| FIFO with admission |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for place in dict.fromkeys(case.place for case in cases):
        at = {(c.policy, c.admission): c.figures for c in cases if c.place == place}
        fifo, best = at[Policy.FIFO, False], at[Policy.DEADLINE, False]
        rows.append(
            f"| {place[0]} | {place[1]} | {place[2]} | {fifo.met:.1%} | {best.met:.1%} "
            f"| {best.met / fifo.met:.2f} | {best.longest:.2f} "
            f"| {at[Policy.DEADLINE, True].met:.1%} | {at[Policy.FIFO, True].met:.1%} |"
        )
    return "\n".join(rows)


def overhead_table(overheads: Sequence[Overhead]) -> str:
    rows = [
        "| policy | admission | experts | mean, us | of it processor | median | 99 of 100 within "
        "| longest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {o.policy} | {'yes' if o.admission else ''} | {'one' if o.one_expert else 'both'} "
        f"| {o.mean_us} | {o.processor_us} | {o.median_us} | {o.p99_us} | {o.longest_us} |"
        for o in overheads
    ]
    return "\n".join(rows)


def targets(cases: Sequence[Case], overheads: Sequence[Overhead]) -> list[str]:
    """What was to be reached and was not: deadlines of the policy DEADLINE, all else of all."""
    missed = []
    for case in cases:
        where = f"{case.machine}; {case.traffic}, load {case.load}"
        if case.figures.longest > TARGET_LONGEST:
            admission = ", admission" if case.admission else ""
            missed.append(
                f"{where}; {case.policy.value}{admission}: "
                f"longest {case.figures.longest:.2f} of FIFO's"
            )
        if case.policy is Policy.DEADLINE and not case.admission:
            fifo = next(
                c.figures
                for c in cases
                if c.place == case.place and c.policy is Policy.FIFO and not c.admission
            )
            if case.figures.met < TARGET_MET * fifo.met:
                missed.append(
                    f"{where}: met {case.figures.met / fifo.met:.2f} times FIFO's, "
                    f"of at most {1 / fifo.met:.2f}"
                )
    missed += [
        f"{o.policy}, admission {o.admission}, one expert {o.one_expert}: "
        f"{o.processor_us} us of the processor a decision"
        for o in overheads
        if o.processor_us > TARGET_US
    ]
    return missed


def plots(sweep: Sequence[Case]) -> dict[str, str]:
    """Name -> SVG, over the load of one machine and traffic."""
    title = f"{sweep[0].machine}; {sweep[0].traffic}"
    drawn: dict[str, tuple[str, Callable[[Figures], float], bool, tuple[float, ...]]] = {
        "met": ("deadlines met, % (dashed: with admission)", lambda f: 100 * f.met, True, ()),
        "goodput": (
            "% of the time for jobs that ended in time (dashed: with admission)",
            lambda f: 100 * f.goodput,
            True,
            (),
        ),
        "latency": ("mean latency, s", lambda f: f.mean_s, False, ()),
        "longest": ("longest latency by FIFO's", lambda f: f.longest, False, (TARGET_LONGEST,)),
    }
    return {
        name: _styled(
            line_plot(
                title,
                Axis("load"),
                label,
                [
                    _series(sweep, policy, admission, value)
                    for policy in Policy
                    for admission in ((False, True) if both else (False,))
                ],
                limits,
                zero=True,
            )
        )
        for name, (label, value, both, limits) in drawn.items()
    }


def _series(
    sweep: Sequence[Case], policy: Policy, admission: bool, value: Callable[[Figures], float]
) -> Series:
    points = [
        (case.load, value(case.figures))
        for case in sweep
        if case.policy is policy and case.admission == admission
    ]
    name = f"{policy.value}, admission" if admission else policy.value
    return Series(name, COLOURS[policy], points, dashed=admission)


def _styled(svg: str) -> str:
    """A file of its own has no page's style."""
    end = svg.index(">") + 1
    return svg[:end] + _STYLE + svg[end:] + "\n"
