"""Microseconds of a lease and its return, on this host and, where there is one, on its GPU.

    python benchmarks/arena.py            # the table, and benchmarks/results/arena.json

Each case leases a part of one reservation and gives it back, again and again; on a host also with
every page touched in between, which is when the kernel hands memory out. docs/benchmarks.md says
what the numbers are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.machine import describe_machine
from wan_trt.engine.cuda.driver import Device, load_bindings
from wan_trt.engine.errors import ResourceError
from wan_trt.engine.memory.arena import Arena, Lease
from wan_trt.engine.memory.backend import PageBackend
from wan_trt.engine.memory.cuda import CudaPages
from wan_trt.engine.memory.host import HostPages, array_at
from wan_trt.engine.memory.pages import PAGE_NBYTES

RESULTS = Path(__file__).resolve().parent / "results" / "arena.json"
PAGES = (1, 16, 256, 2560)  # the last are 5.4 GB, about the denoiser's scratch at 1280x720
TOUCHED = 256  # at most, on a host: more is the machine's memory


@dataclass(frozen=True)
class Timing:
    """Microseconds of one call: the median, and what 99 of 100 calls stay within."""

    what: str
    pages: int
    turns: int
    lease_us: float
    lease_p99_us: float
    give_back_us: float
    give_back_p99_us: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--turns", type=int, default=1000, help="of each case (%(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the JSON file to write")
    options = parser.parse_args(arguments)
    result: dict[str, object] = {
        "machine": describe_machine(1, ("numpy",)),
        "gpu": None,
        "page_nbytes": PAGE_NBYTES,
    }

    def keep(place: str, timings: Iterator[Timing]) -> None:
        """Writes the file after each case: what comes later may fail."""
        found: list[Timing] = []
        for timing in timings:
            found.append(timing)
            result[place] = [asdict(each) for each in found]
            options.out.write_text(json.dumps(result, indent=1) + "\n")
        print(f"\n{place}\n{table(found)}")

    keep("host", measure_host(options.turns))
    try:
        device = Device()
    except ResourceError as error:
        print(f"the host alone: {error.given}", file=sys.stderr)
        return 0
    result["gpu"] = {"name": device.gpu.name, "driver": driver_version()}
    keep("device", measure_gpu(options.turns))
    return 0


def measure_host(turns: int) -> Iterator[Timing]:
    for pages in PAGES:
        yield measure("lease and return", HostPages(), pages, turns)
    for pages in PAGES:
        if pages <= TOUCHED:
            yield measure("every page touched", HostPages(), pages, _fewer(turns, pages), touch)
    yield hand_on(HostPages(), PAGES[-1], turns)


def measure_gpu(turns: int) -> Iterator[Timing]:
    cuda = load_bindings()
    for pages in PAGES:
        yield measure("pages kept", CudaPages(cuda), pages, _fewer(turns, pages))
    for pages in PAGES:
        backend = CudaPages(cuda)
        few = _fewer(turns, pages)
        yield measure("pages made anew", backend, pages, few, after=backend.trim)
    yield hand_on(CudaPages(cuda), PAGES[-1], turns)


def _fewer(turns: int, pages: int) -> int:
    """Turns of a case whose time grows with its pages."""
    return max(20, turns // pages)


def measure(
    what: str,
    backend: PageBackend,
    pages: int,
    turns: int,
    use: Callable[[Lease], None] = lambda _: None,
    after: Callable[[], object] = lambda: None,
) -> Timing:
    """`use` and `after`, at the end of each turn, are not counted."""
    arena = Arena(backend, pages)
    scratch = arena.reserve("scratch", pages * PAGE_NBYTES)
    leased, returned = [], []
    for turn in range(turns + turns // 10):
        started = time.perf_counter_ns()
        lease = arena.lease(scratch, "benchmark")
        granted = time.perf_counter_ns()
        use(lease)
        used = time.perf_counter_ns()
        arena.give_back(lease)
        done = time.perf_counter_ns()
        after()
        if turn >= turns // 10:  # the first turns warm up
            leased.append(granted - started)
            returned.append(done - used)
    arena.check()
    arena.close()
    return _timing(what, pages, leased, returned)


def hand_on(backend: PageBackend, pages: int, turns: int) -> Timing:
    """The same scratch from one expert to the other and back."""
    arena = Arena(backend, pages)
    lease = arena.lease(arena.reserve("scratch", pages * PAGE_NBYTES), "high")
    there, back = [], []
    for _ in range(turns):
        started = time.perf_counter_ns()
        lease = arena.hand_on(lease, "low")
        handed = time.perf_counter_ns()
        lease = arena.hand_on(lease, "high")
        there.append(handed - started)
        back.append(time.perf_counter_ns() - handed)
    arena.close()
    return _timing("handed on, and back", pages, there, back)


def touch(lease: Lease) -> None:
    array_at(lease.address, (lease.nbytes // 4096, 4096), "uint8")[:, 0] = 1


def table(timings: Sequence[Timing]) -> str:
    rows = [
        "| | pages | lease, us | 99 of 100 within | return, us | 99 of 100 within |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {t.what} | {t.pages} | {t.lease_us:.1f} | {t.lease_p99_us:.1f} | "
        f"{t.give_back_us:.1f} | {t.give_back_p99_us:.1f} |"
        for t in timings
    ]
    return "\n".join(rows)


def driver_version() -> int:
    """CUDA's, as the driver counts it: 13000 is 13.0."""
    version: int = load_bindings().cuDriverGetVersion()[1]
    return version


def _timing(what: str, pages: int, leased: list[int], returned: list[int]) -> Timing:
    def us(values: list[int]) -> tuple[float, float]:
        return (
            round(statistics.median(values) / 1000, 1),
            round(statistics.quantiles(values, n=100)[98] / 1000, 1),
        )

    (lease, lease_p99), (back, back_p99) = us(leased), us(returned)
    return Timing(what, pages, len(leased), lease, lease_p99, back, back_p99)


if __name__ == "__main__":
    sys.exit(main())
