"""How the server stands when it is asked: memory, jobs, disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from wan_trt.engine.request import JobState
from wan_trt.server.bundles.registry import BundleRegistry

Expiry = Callable[[], datetime | None]
"""When the server's certificate ends; None without TLS."""


class CountsJobs(Protocol):
    def by_state(self) -> Mapping[JobState, int]: ...


class ServerState(Collector):
    """Asked anew for each scrape: nothing is counted in between."""

    def __init__(
        self,
        bundles: BundleRegistry,
        jobs: CountsJobs,
        folder: Path,
        reserve_nbytes: int,
        expires: Expiry,
    ) -> None:
        self._bundles = bundles
        self._jobs = jobs
        self._folder = folder
        self._reserve_nbytes = reserve_nbytes
        self._expires = expires

    def collect(self) -> Iterator[GaugeMetricFamily]:
        bundles = self._bundles.entries
        memory = [e.served.engine.memory_in_use for e in bundles if e.served is not None]
        most = max((each.pages.pages for each in memory), default=0)  # engines share the machine
        used = sum(each.pages.pages - each.pages.free for each in memory)
        pages = GaugeMetricFamily("wan_trt_pages", "of tensors' memory", labels=["state"])
        pages.add_metric(["used"], used)
        pages.add_metric(["free"], max(0, most - used))
        yield pages
        page_nbytes = max((each.pages.page_nbytes for each in memory), default=0)
        yield GaugeMetricFamily("wan_trt_page_bytes", "of one page", page_nbytes)
        yield GaugeMetricFamily(
            "wan_trt_parked_bytes",
            "of jobs that made room for others",
            sum(each.parked_nbytes for each in memory),
        )
        states = GaugeMetricFamily(
            "wan_trt_bundles", "1 for each, in its state", labels=["bundle", "state"]
        )
        for entry in bundles:
            states.add_metric([entry.name, entry.state.value], 1)
        yield states
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
