"""Bundles that were added while a server ran, for the servers that come after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wan_trt.server.store.database import Database


@dataclass(frozen=True)
class BundleRow:
    """`digest` is that of the bundle whose files were found to be right."""

    name: str
    path: Path
    digest: str
    draining: bool = False


class BundleRows:
    """All of it is on disk when a method returns. Methods that write raise StorageFullError, and
    then have changed nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[BundleRow]:
        """In the order in which they came."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT name, path, digest, draining FROM bundles ORDER BY arrival"
            ).fetchall()
        return [
            BundleRow(name, Path(path), digest, bool(draining))
            for name, path, digest, draining in rows
        ]

    def keep(self, row: BundleRow) -> None:
        """Add it, or change what there is under its name."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO bundles (name, path, digest, draining) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET path = excluded.path, "
                "digest = excluded.digest, draining = excluded.draining",
                (row.name, str(row.path), row.digest, row.draining),
            )

    def set_draining(self, name: str, draining: bool) -> None:
        """No effect on a name that is not there."""
        with self._database.writing() as connection:
            connection.execute("UPDATE bundles SET draining = ? WHERE name = ?", (draining, name))

    def remove(self, name: str) -> None:
        with self._database.writing() as connection:
            connection.execute("DELETE FROM bundles WHERE name = ?", (name,))
