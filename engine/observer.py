"""Who is told of the engine's work, as numbers: for metrics, logs and traces."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec

from wan_trt.engine.scheduling.costs import CostKey
from wan_trt.engine.scheduling.unit import Unit

_P = ParamSpec("_P")
_log = logging.getLogger(__name__)


class Observer:
    """Does nothing with what it is told. Called by the threads that step the engine, between units:
    it must not wait, nor call the engine."""

    def decided(self, seconds: float) -> None:
        """The scheduler took so long to say whose turn it is."""

    def begins(self, unit: Unit) -> None:
        """This thread goes on with a unit."""

    def ended(self, unit: Unit, key: CostKey, seconds: float, error: Exception | None) -> None:
        """That unit took so long, without loading graphs; `error` is why it is not done."""

    def kept(self, job_id: str, seconds: float, nbytes: int) -> None:
        """A checkpoint with so many bytes of tensors is kept."""


def tell(method: Callable[_P, None], *arguments: _P.args, **named: _P.kwargs) -> None:
    """Call an observer's method. What it raises is logged and harms no job."""
    try:
        method(*arguments, **named)
    except Exception:
        _log.exception("an observer of the engine failed")
