"""What a build would do, without a GPU and without TensorRT: checks, sizes, bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wan_trt.engine.bundle import Bundle
from wan_trt.plan.estimate import Estimate, estimate
from wan_trt.plan.fusions import Fusions, expected_fusions
from wan_trt.plan.network_graph import network_graph
from wan_trt.plan.operators import require_supported
from wan_trt.plan.targets import Target


@dataclass(frozen=True)
class Prospect:
    """One engine, looked at before it is built."""

    target: Target
    estimate: Estimate
    fusions: Fusions


def survey(bundle: Bundle, targets: Iterable[Target]) -> Iterator[Prospect]:
    """Each target's prospect. Raises BundleError for a graph that TensorRT would not take."""
    for target in targets:
        graph = network_graph(bundle, target)
        require_supported(graph)
        yield Prospect(target, estimate(graph), expected_fusions(graph))


def lines(prospects: Iterable[Prospect]) -> Iterator[str]:
    """A table of engines, and what to make room for: engines are built one after the other, and
    each has its own scratch."""
    seen = list(prospects)
    yield (
        f"{'engine':60} {'nodes':>6} {'weights':>9} {'scratch':>9} {'in, out':>9} "
        f"{'build GPU':>9} {'host':>9}  fused"
    )
    for prospect in seen:
        needs, fusions = prospect.estimate, prospect.fusions
        yield (
            f"{prospect.target.name:60} {needs.nodes:6} {_size(needs.engine_nbytes):>9} "
            f"{_size(needs.scratch_nbytes):>9} {_size(needs.io_nbytes):>9} "
            f"{_size(needs.build_gpu_nbytes):>9} {_size(needs.build_host_nbytes):>9}  "
            f"{len(fusions.attentions)} attentions, {len(fusions.fp8_linears)} FP8 linears"
        )
        by_type = ", ".join(
            f"{_size(nbytes)} {dtype}" for dtype, nbytes in sorted(needs.weight_nbytes.items())
        )
        yield f"    {by_type}"
    needs_of_all = [prospect.estimate for prospect in seen]
    if seen:
        yield (
            f"{len(seen)} engines, {_size(sum(each.engine_nbytes for each in needs_of_all))} of "
            f"weights; largest scratch {_size(max(each.scratch_nbytes for each in needs_of_all))}; "
            "to build, one after the other: "
            f"{_size(max(each.build_gpu_nbytes for each in needs_of_all))} on the GPU, "
            f"{_size(max(each.build_host_nbytes for each in needs_of_all))} on the host"
        )


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"
