"""The server's metrics: each is declared here, once. docs/operations.md tells what they mean.

No label has values without bound: sizes beyond the first 32, which clients choose, are "other".
"""

from __future__ import annotations

import platform
import threading
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from wan_trt.engine.bundle import Bundle
from wan_trt.engine.memory.footprint import VideoSize

MOST_SIZES = 32

_STEP_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30, 60, 120)
_QUEUE_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 21600)
_CALL_S = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5, 15, 60, 300, 1800)
_DECISION_S = (1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 1e-2, 0.1, 1)
_KEEP_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60)


class Metrics:
    """Of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.build = self._gauge("build_info", "what runs", "version", "model", "precision")
        self.ready = self._gauge("ready", "1 while jobs are taken")
        self.queue_s = self._histogram("queue_seconds", "from Submit to the first unit", _QUEUE_S)
        self.step_s = self._histogram(
            *("step_seconds", "a denoising step, all its passes", _STEP_S),
            *("engine", "size", "precision"),
        )
        self.stage_s = self._histogram(
            "stage_seconds",
            "conditioning or decoding of a segment, or the result",
            _STEP_S,
            "stage",
        )
        self.deadlines = self._counter("deadlines", "ends of jobs that had a deadline", "outcome")
        self.refused = self._counter("admissions_refused", "jobs that were not let in", "reason")
        self.preemptions = self._counter(
            "preemptions", "steps of another job between two of a segment"
        )
        self.expert_switches = self._counter("expert_switches", "steps of another expert")
        self.decision_s = self._histogram(
            "scheduler_decision_seconds", "whose turn it is", _DECISION_S
        )
        self.checkpoint_s = self._histogram("checkpoint_seconds", "to keep a state", _KEEP_S)
        self.checkpoint_nbytes = self._counter("checkpoint_bytes", "of tensors that were kept")
        self.finished = self._counter("jobs_finished", "since the start, by their end", "state")
        self.failures = self._counter("job_failures", "of jobs, by the error", "kind")
        self.call_s = self._histogram("call_seconds", "of calls", _CALL_S, "method")
        self.calls = self._counter("calls", "by how they ended", "method", "code")
        self.call_errors = self._counter("call_errors", "by the error", "method", "code", "kind")
        self.calls_in_flight = self._gauge("calls_in_flight", "Watch: watchers", "method")
        self.received = self._counter("received_bytes", "of messages", "method")
        self.sent = self._counter("sent_bytes", "of messages", "method")
        self._sizes: set[str] = set()
        self._naming = threading.Lock()
        for outcome in ("hit", "miss"):
            self.deadlines.labels(outcome)
        for reason in ("deadline", "busy", "quota", "stopping"):
            self.refused.labels(reason)

    def tell_build(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        self.build.labels(tool_version(), manifest.model.value, manifest.precision).set(1)

    def size(self, size: VideoSize) -> str:
        """A segment's size as a label: `1280x720x77`, or `other`."""
        text = f"{size.width}x{size.height}x{size.frames}"
        with self._naming:
            if text in self._sizes or len(self._sizes) < MOST_SIZES:
                self._sizes.add(text)
                return text
        return "other"

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"wan_trt_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"wan_trt_{name}", text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(f"wan_trt_{name}", text, labels, registry=self.registry, buckets=buckets)


def tool_version() -> str:
    try:
        return version("wan-trt")
    except PackageNotFoundError:
        return f"source tree, Python {platform.python_version()}"
