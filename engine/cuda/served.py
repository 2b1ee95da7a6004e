"""Whether a GPU can do all that a job will ask for: known before the job is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from wan_trt.engine.errors import ResourceError
from wan_trt.engine.graph_run import GraphRun
from wan_trt.engine.plan_entry import PlanEntry

RequireServed = Callable[[Iterable[GraphRun]], None]
"""Raises ResourceError for what nothing here can run."""


def require_served(
    plans: Sequence[PlanEntry],
    provider_error: Callable[[], ResourceError | None],
    runs: Iterable[GraphRun],
) -> None:
    """`plans` are those that run here. What they do not serve is for ONNX Runtime's provider:
    `provider_error` says why it cannot be used, None: it can. It is asked where it is needed.

    Raises ResourceError naming the graphs that neither runs at their sizes."""
    without = [run for run in runs if not any(_serves(plan, run) for plan in plans)]
    if not without or (error := provider_error()) is None:
        return
    sizes = ", ".join(f"{name} {value}" for name, value in sorted(without[0].sizes.items()))
    raise ResourceError(
        f"no TensorRT plan serves {', '.join(dict.fromkeys(run.graph for run in without))} at this "
        f"size ({sizes}), and {error.given}",
        expected="a size that the bundle has plans for",
        action="build plans for it with `wan-trt build BUNDLE --size WxH --frames N`, or "
        f"{error.action}",
    )


def _serves(plan: PlanEntry, run: GraphRun) -> bool:
    return (plan.graph, plan.weight_set) == (run.graph, run.weight_set) and plan.serves(run.sizes)
