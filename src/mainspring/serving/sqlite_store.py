"""Feast's SQLite online store, read directly: one prepared statement for all views of a row.

Other processes materialise while this one reads, so nothing is kept between requests: a statement costs about what it
would cost to ask whether a kept row still holds. All rows of a request are read from one snapshot.
"""

from __future__ import annotations

import calendar
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from mainspring.domain.errors import DataError
from mainspring.domain.log_record import microseconds
from mainspring.serving.config import OnlineStoreConfig, OnlineView
from mainspring.serving.feast_format import KeyEncoder, decode_value
from mainspring.serving.online import Keys, OnlineRow, Outage

_LOOK_SECONDS = 1.0
_MMAP_BYTES = 268_435_456


class _ViewTable:
    """One view's table: its part of the statement, the key's encoding and where its features go."""

    def __init__(self, project: str, view: OnlineView) -> None:
        self.name = view.name
        self.table = f"{project}_{view.name}"
        self.key = KeyEncoder(view).encode
        self.positions = {name: position for position, name in enumerate(view.features)}
        self.blank = [None] * len(view.features)

    def select(self, place: int) -> str:
        quoted = self.table.replace('"', '""')
        return f'SELECT {place}, feature_name, value, event_ts FROM "{quoted}" WHERE entity_key = ?'

    def row(self, found: Sequence[tuple[int, str, bytes, Any]]) -> OnlineRow:
        values: list[Any] = self.blank.copy()
        position_of = self.positions.get
        name = ""
        try:
            for _, name, raw, _ in found:
                position = position_of(name)
                if position is not None:
                    values[position] = decode_value(raw)
        except DataError as error:
            raise DataError(error.what, where=f"feature {name} of view {self.name}") from error
        return OnlineRow(_event_microseconds(found[-1][3]), tuple(values))


class SqliteOnlineFeatures:
    """Feast's SQLite online store.

    A file or table that is not there yet is a store without rows. Errors: `TemporaryError` when SQLite cannot answer,
    `DataError` for bytes that are no value of Feast's.
    """

    def __init__(self, config: OnlineStoreConfig) -> None:
        self._path = Path(config.path)
        self._busy_seconds = config.timeout_seconds
        self._views = [_ViewTable(config.project, view) for view in config.views]
        self._connection: sqlite3.Connection | None = None
        self._outage = Outage(str(self._path))
        self._absent: set[str] = set()
        self._looked_at = 0.0
        self._statements: dict[tuple[int, ...], str] = {}

    def read(self, wanted: Sequence[Sequence[Keys | None]]) -> list[list[OnlineRow | None]]:
        """The views' rows for these keys."""
        found: list[list[OnlineRow | None]] = [[None] * len(keys) for keys in wanted]
        connection = self._connection or self._open()
        if connection is None:
            return found
        rows = len(wanted[0]) if wanted else 0
        try:
            if rows == 1:
                self._read_row(connection, wanted, found, 0)
                return found
            connection.execute("BEGIN")
            try:
                for row in range(rows):
                    self._read_row(connection, wanted, found, row)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()
            raise self._outage.begins(error) from error
        return found

    def close(self) -> None:
        """Close the connection; the next read opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_row(
        self,
        connection: sqlite3.Connection,
        wanted: Sequence[Sequence[Keys | None]],
        found: list[list[OnlineRow | None]],
        row: int,
    ) -> None:
        places, encoded = [], []
        for place, view in enumerate(self._views):
            keys = wanted[place][row]
            key = None if keys is None else view.key(keys)
            if key is not None and (not self._absent or not self._is_absent(connection, view)):
                places.append(place)
                encoded.append(key)
        if not places:
            return
        lines = self._fetch(connection, tuple(places), encoded)
        if not lines:
            return
        # Lines come view by view, in the order of the statement's parts.
        first, place = 0, lines[0][0]
        for position, line in enumerate(lines):
            if line[0] != place:
                found[place][row] = self._views[place].row(lines[first:position])
                first, place = position, line[0]
        found[place][row] = self._views[place].row(lines[first:])

    def _fetch(self, connection: sqlite3.Connection, places: tuple[int, ...], keys: list[bytes]) -> list[Any]:
        statement = self._statements.get(places)
        if statement is None:
            statement = " UNION ALL ".join(self._views[place].select(place) for place in places)
            self._statements[places] = statement
        try:
            return connection.execute(statement, keys).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
        # A view whose table is not there yet must not hide the others.
        self._look(connection)
        there = [place for place, one in enumerate(places) if self._views[one].table not in self._absent]
        if not there or len(there) == len(places):
            return []
        return self._fetch(connection, tuple(places[place] for place in there), [keys[place] for place in there])

    def _is_absent(self, connection: sqlite3.Connection, view: _ViewTable) -> bool:
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._look(connection)
        return view.table in self._absent

    def _look(self, connection: sqlite3.Connection) -> None:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        self._absent = {view.table for view in self._views if view.table not in tables}
        self._looked_at = time.monotonic()

    def _open(self) -> sqlite3.Connection | None:
        self._outage.check()
        if not self._path.exists():
            return None
        try:
            self._connection = _connect(self._path, self._busy_seconds)
        except sqlite3.Error as error:
            raise self._outage.begins(error) from error
        return self._connection


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    # Opened for writing where that is allowed: reading a WAL database takes its shared-memory file, which a read-only
    # connection cannot make. `query_only` keeps the promise not to write.
    try:
        return _connect_as("rw", path, busy_seconds)
    except sqlite3.OperationalError:
        return _connect_as("ro", path, busy_seconds)


def _connect_as(mode: str, path: Path, busy_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA mmap_size = {_MMAP_BYTES}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


@lru_cache(4096)
def _event_microseconds(at: Any) -> int:
    # Feast writes int(naive UTC datetime .timestamp()), which Python reads as local time, and turns it back the same
    # way; older versions wrote ISO text.
    if isinstance(at, int):
        return calendar.timegm(time.localtime(at)) * 1_000_000
    found = datetime.fromisoformat(str(at))
    return microseconds(found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))
