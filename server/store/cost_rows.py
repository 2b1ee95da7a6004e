"""What units of work took, for the servers that come after this one."""

from __future__ import annotations

import time
from collections.abc import Mapping

from wan_trt.engine.memory.footprint import VideoSize
from wan_trt.engine.scheduling.costs import CostKey
from wan_trt.engine.scheduling.unit import Stage
from wan_trt.server.store.database import Database

REMEMBERED = 1000
"""Rows that are kept, the newest: clients choose sizes."""


class CostRows:
    """Seconds by key, of one bundle: what another one took says nothing. All of it is on disk when
    a method returns; those that write raise StorageFullError, and then have changed nothing."""

    def __init__(self, database: Database, bundle: str) -> None:
        """`bundle` is the digest of the manifest."""
        self._database = database
        self._bundle = bundle

    def read(self) -> dict[CostKey, float]:
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT stage, engine, height, width, frames, precision, backend, seconds "
                "FROM costs WHERE bundle = ?",
                (self._bundle,),
            ).fetchall()
        return {
            CostKey(Stage(stage), engine, VideoSize(height, width, frames), *rest): seconds
            for stage, engine, height, width, frames, *rest, seconds in rows
        }

    def write(self, costs: Mapping[CostKey, float]) -> None:
        """Those that are not given stay as they were."""
        now = time.time()
        rows = [
            (
                *(self._bundle, key.stage.value, key.engine),
                *(key.size.height, key.size.width, key.size.frames),
                *(key.precision, key.backend, seconds, now),
            )
            for key, seconds in costs.items()
        ]
        with self._database.writing() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO costs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )
            connection.execute(
                "DELETE FROM costs WHERE measured < "
                "(SELECT measured FROM costs ORDER BY measured DESC LIMIT 1 OFFSET ?)",
                (REMEMBERED - 1,),
            )
