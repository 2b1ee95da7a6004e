"""How the server stands when it is asked: memory, jobs, disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from wan_trt.engine.engine import Engine
from wan_trt.engine.request import JobState


class CountsJobs(Protocol):
    def by_state(self) -> Mapping[JobState, int]: ...


class ServerState(Collector):
    """Asked anew for each scrape: nothing is counted in between."""

    def __init__(self, engine: Engine, jobs: CountsJobs, folder: Path, reserve_nbytes: int) -> None:
        self._engine = engine
        self._jobs = jobs
        self._folder = folder
        self._reserve_nbytes = reserve_nbytes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        memory = self._engine.memory_in_use
        pages = GaugeMetricFamily("wan_trt_pages", "of tensors' memory", labels=["state"])
        pages.add_metric(["used"], memory.pages.pages - memory.pages.free)
        pages.add_metric(["free"], memory.pages.free)
        yield pages
        yield GaugeMetricFamily("wan_trt_page_bytes", "of one page", memory.pages.page_nbytes)
        yield GaugeMetricFamily(
            "wan_trt_parked_bytes", "of jobs that made room for others", memory.parked_nbytes
        )
        jobs = GaugeMetricFamily("wan_trt_jobs", "that are known", labels=["state"])
        counts = self._jobs.by_state()
        for state in JobState:
            jobs.add_metric([state.value], counts.get(state, 0))
        yield jobs
        free = shutil.disk_usage(self._folder).free
        yield GaugeMetricFamily("wan_trt_disk_free_bytes", "where jobs are kept", free)
        yield GaugeMetricFamily(
            "wan_trt_disk_reserve_bytes", "jobs pause below", self._reserve_nbytes
        )
