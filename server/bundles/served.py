"""One bundle at work: its engine, the threads that step it, its intake and what its units took."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from wan_trt.engine.engine import Engine
from wan_trt.server.intake import Intake
from wan_trt.server.kept_costs import KeptCosts
from wan_trt.server.store.store import Store
from wan_trt.server.worker import Worker


class ServedBundle:
    """Started once, stopped once. Bundles share nothing but the machine and the job store."""

    def __init__(
        self, engine: Engine, intake: Intake, store: Store, on_crash: Callable[[Exception], None]
    ) -> None:
        """`on_crash` is told of an error of the engine itself."""
        self.engine = engine
        self.intake = intake
        self._costs = KeptCosts(engine, store)
        self._costs.teach()
        self._worker = Worker(engine, on_crash)

    def start(self) -> None:
        self._worker.start()

    def tidy(self) -> None:
        self._costs.keep()
        self.intake.tidy()

    def stop(self, suspend: bool) -> None:
        """End within the units that run now, and close the engine: what is left is cancelled, or
        with `suspend` left to the next process."""
        with ExitStack() as last_first:
            last_first.callback(self._costs.keep)
            last_first.callback(self._worker.stop, suspend)
            last_first.callback(self.intake.stop_preparing, suspend)
