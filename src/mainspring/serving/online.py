"""Online features: Feast's SQLite online store, read directly, one prepared statement a view.

Other processes materialise while this one reads. Decoded rows are kept until SQLite says that somebody else committed
(`PRAGMA data_version`), so a cached row is never older than the database.
"""

from __future__ import annotations

import calendar
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from mainspring.domain.errors import DataError, TemporaryError
from mainspring.domain.log_record import microseconds
from mainspring.serving.config import OnlineStoreConfig, OnlineView
from mainspring.serving.feast_format import (
    DUMMY_JOIN_KEY,
    STRING,
    EntityValue,
    FeatureValue,
    decode_value,
    encode_value,
    key_prefix,
    value_kinds,
)

_MOST_CACHED_ROWS = 200_000
_REOPEN_SECONDS = 1.0
_BUSY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class OnlineRow:
    """A view's row for one entity: its event time in microseconds since 1970 UTC, and values in the view's order."""

    event_at: int
    values: tuple[FeatureValue, ...]


class OnlineFeatures(Protocol):
    """Where a predictor looks features up. On-demand views and other stores are further implementations."""

    def refresh(self) -> None:
        """Called once a request, before its look-ups: forget what others have overwritten."""
        ...

    def row(self, view: int, keys: tuple[EntityValue, ...]) -> OnlineRow | None:
        """The row of the view at that position for its entity keys, in the view's order; None without one."""
        ...


class _ViewReader:
    """One view's table: the statement, the key's encoding and the decoded rows."""

    def __init__(self, project: str, view: OnlineView) -> None:
        self.view = view
        self.table = '"' + f"{project}_{view.name}".replace('"', '""') + '"'
        self.statement = f"SELECT feature_name, value, event_ts FROM {self.table} WHERE entity_key = ?"
        names = view.entities or (DUMMY_JOIN_KEY,)
        self.prefix = key_prefix(names)
        self.order = sorted(range(len(names)), key=names.__getitem__)
        self.positions = {name: position for position, name in enumerate(view.features)}
        self.kinds: tuple[int, ...] | None = None if view.entities else (STRING,)
        self.rows: dict[tuple[EntityValue, ...], OnlineRow | None] = {}

    def key(self, keys: Sequence[EntityValue]) -> bytes | None:
        if self.kinds is None:
            return None
        try:
            return self.prefix + b"".join(
                encode_value(kind, keys[position]) for kind, position in zip(self.kinds, self.order, strict=True)
            )
        except ValueError:
            return None  # a value that the key's type cannot hold is an entity that is not there

    def decode(self, found: list[tuple[str, bytes, Any]]) -> OnlineRow | None:
        if not found:
            return None
        values: list[FeatureValue] = [None] * len(self.positions)
        event_at = 0
        for name, raw, at in found:
            position = self.positions.get(name)
            if position is not None:
                values[position] = decode_value(raw)
            event_at = at
        return OnlineRow(_event_microseconds(event_at), tuple(values))


class SqliteOnlineFeatures:
    """Feast's SQLite online store.

    A file or table that is not there yet is a store without rows. Errors: `TemporaryError` when SQLite cannot answer,
    `DataError` for values that no model can take.
    """

    def __init__(self, config: OnlineStoreConfig) -> None:
        self._path = Path(config.path)
        self._readers = [_ViewReader(config.project, view) for view in config.views]
        self._connection: sqlite3.Connection | None = None
        self._tried_at = -_REOPEN_SECONDS
        self._version = -1
        self._open()

    def refresh(self) -> None:
        """Drop decoded rows when another process has committed since the last call."""
        if self._connection is None:
            self._open()
            return
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            for reader in self._readers:
                reader.rows.clear()

    def row(self, view: int, keys: tuple[EntityValue, ...]) -> OnlineRow | None:
        """The view's row for these keys."""
        reader = self._readers[view]
        try:
            return reader.rows[keys]
        except KeyError:
            pass
        if self._connection is None:
            return None
        found = self._read(reader, keys or ("",))
        if len(reader.rows) >= _MOST_CACHED_ROWS:
            reader.rows.clear()
        reader.rows[keys] = found
        return found

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read(self, reader: _ViewReader, keys: tuple[EntityValue, ...]) -> OnlineRow | None:
        assert self._connection is not None
        try:
            if reader.kinds is None:
                sample = self._connection.execute(f"SELECT entity_key FROM {reader.table} LIMIT 1").fetchone()
                reader.kinds = value_kinds(sample[0]) if sample else None
            key = reader.key(keys)
            if key is None:
                return None
            return reader.decode(self._connection.execute(reader.statement, (key,)).fetchall())
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise TemporaryError(f"the online store did not answer: {error}", where=str(self._path)) from error
        except DataError as error:
            raise DataError(error.what, where=f"feature view {reader.view.name} in {self._path}") from error

    def _open(self) -> None:
        if time.monotonic() - self._tried_at < _REOPEN_SECONDS:
            return
        self._tried_at = time.monotonic()
        if not self._path.exists():
            return
        self._connection = _connect(self._path)
        self._version = -1
        self.refresh()


def _connect(path: Path) -> sqlite3.Connection:
    # Opened for writing where that is allowed: reading a WAL database takes its shared-memory file, which a read-only
    # connection cannot make. `query_only` keeps the promise not to write.
    for mode in ("rw", "ro"):
        connection = None
        try:
            connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA mmap_size = 268435456")
            return connection
        except sqlite3.OperationalError as error:
            if connection is not None:
                connection.close()
            if mode == "ro":
                raise TemporaryError(f"the online store cannot be opened: {error}", where=str(path)) from error
    raise AssertionError("unreachable")


def _event_microseconds(at: Any) -> int:
    # Feast writes int(naive UTC datetime .timestamp()), which Python reads as local time, and turns it back the same
    # way; older versions wrote ISO text.
    if isinstance(at, int):
        return calendar.timegm(time.localtime(at)) * 1_000_000
    found = datetime.fromisoformat(str(at))
    return microseconds(found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))
