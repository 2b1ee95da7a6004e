"""What units of work take, from one server to the next."""

from __future__ import annotations

import contextlib

from wan_trt.engine.engine import Engine
from wan_trt.engine.errors import StorageFullError
from wan_trt.server.store.store import Store


class KeptCosts:
    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._rows = store.costs(engine.bundle.digest)
        self._kept = self._rows.read()

    def teach(self) -> None:
        """Tell the engine what earlier servers measured."""
        self._engine.learn_costs(self._kept)

    def keep(self) -> None:
        """What has not changed is there already. Without room for it nothing is kept."""
        costs = self._engine.measured_costs()
        if news := dict(costs.items() - self._kept.items()):
            with contextlib.suppress(StorageFullError):
                self._rows.write(news)
                self._kept = costs
