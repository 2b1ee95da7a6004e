"""How the server stands when it is asked: memory, jobs, disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from wan_trt.engine.engine import Engine
from wan_trt.engine.request import JobState

Expiry = Callable[[], datetime | None]
"""When the server's certificate ends; None without TLS."""


class CountsJobs(Protocol):
    def by_state(self) -> Mapping[JobState, int]: ...


class ServerState(Collector):
    """Asked anew for each scrape: nothing is counted in between."""

    def __init__(
        self,
        engine: Engine,
        jobs: CountsJobs,
        folder: Path,
        reserve_nbytes: int,
        expires: Expiry,
    ) -> None:
        self._engine = engine
        self._jobs = jobs
        self._folder = folder
        self._reserve_nbytes = reserve_nbytes
        self._expires = expires

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
        expires = self._expires()
        yield GaugeMetricFamily(
            "wan_trt_tls_certificate_expiry_timestamp_seconds",
            "when it expires; 0 without TLS",
            0 if expires is None else expires.timestamp(),
        )
