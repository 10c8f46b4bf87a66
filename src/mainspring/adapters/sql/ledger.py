"""`SqliteLedger`: decisions as append-only rows and the loop's small state, in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.decision import Decision
from mainspring.domain.errors import ConflictError, MainspringError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS decision (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    at TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS decision_kept BEFORE DELETE ON decision
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS decision_fixed BEFORE UPDATE ON decision
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_EPOCH = "epoch"


class SqliteLedger:
    """`Ledger` on SQLite in WAL mode; a committed decision survives SIGKILL.

    A writer that took the lease calls `take_epoch` once. From then on each of its writes checks, in the same
    transaction, that no later writer took a newer epoch, so that an old leader that wakes up cannot write.

    >>> import tempfile
    >>> from datetime import UTC
    >>> ledger = SqliteLedger(Path(tempfile.mkdtemp()) / "ledger.db")
    >>> first = Decision("gate:r1", "gate_passed", "r1 passed", "auc 0.71 > 0.69", "loop", datetime(2013, 3, 1, tzinfo=UTC))
    >>> ledger.append(first, state={"run": ""}), ledger.append(first)
    (True, False)
    >>> [decision.what for decision in ledger.decisions()], ledger.state("run")
    (['r1 passed'], '')
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._epoch: int | None = None
        self._pid = -1
        self._connection: sqlite3.Connection | None = None
        self._open().executescript(_SCHEMA)

    def take_epoch(self) -> int:
        """Become the one writer: every earlier holder's next write is refused."""
        with self._transaction(check=False) as connection:
            row = connection.execute("SELECT value FROM state WHERE key = ?", (_EPOCH,)).fetchone()
            self._epoch = int(row[0]) + 1 if row else 1
            _put(connection, {_EPOCH: str(self._epoch)})
        return self._epoch

    def append(self, decision: Decision, *, state: Mapping[str, str] | None = None) -> bool:
        """Write a decision and state in one transaction; False, and nothing written, when the decision was there."""
        row = (decision.id, decision.kind, decision.at.isoformat(), to_json(decision).decode())
        with self._transaction() as connection:
            cursor = connection.execute("INSERT OR IGNORE INTO decision (id, kind, at, body) VALUES (?, ?, ?, ?)", row)
            if cursor.rowcount == 0:
                return False
            _put(connection, state or {})
        return True

    def decisions(self, *, since: datetime | None = None, kind: str = "") -> Sequence[Decision]:
        """Decisions in the order in which they were written."""
        rows = self._open().execute(
            "SELECT body FROM decision WHERE (? = '' OR kind = ?) ORDER BY sequence", (kind, kind)
        )
        found = [from_json(Decision, body) for (body,) in rows]
        return [decision for decision in found if since is None or decision.at >= since]

    def after(self, sequence: int) -> list[tuple[int, Decision]]:
        """Decisions with a later sequence number than this, with theirs, in order; 0 for all."""
        rows = self._open().execute(
            "SELECT sequence, body FROM decision WHERE sequence > ? ORDER BY sequence", (sequence,)
        )
        return [(int(place), from_json(Decision, body)) for place, body in rows]

    def state(self, key: str) -> str | None:
        """The latest value of a key, None when never written."""
        row = self._open().execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def states(self, prefix: str) -> Mapping[str, str]:
        """Keys that begin with `prefix` and are not empty, with their latest values."""
        rows = self._open().execute(
            "SELECT key, value FROM state WHERE substr(key, 1, ?) = ? AND value <> '' ORDER BY key",
            (len(prefix), prefix),
        )
        return {str(key): str(value) for key, value in rows}

    def put_state(self, state: Mapping[str, str]) -> None:
        """Write several keys in one transaction."""
        with self._transaction() as connection:
            _put(connection, state)

    def _open(self) -> sqlite3.Connection:
        # A connection must not be carried over a fork: SQLite's locks belong to the process that took them.
        if self._connection is None or self._pid != os.getpid():
            try:
                self._connection = sqlite3.connect(
                    self._path, timeout=30, isolation_level=None, check_same_thread=False
                )
            except sqlite3.OperationalError as error:
                raise MainspringError(f"cannot open the ledger: {error}", where=str(self._path)) from error
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._pid = os.getpid()
        return self._connection

    @contextmanager
    def _transaction(self, *, check: bool = True) -> Iterator[sqlite3.Connection]:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            if check and self._epoch is not None:
                row = connection.execute("SELECT value FROM state WHERE key = ?", (_EPOCH,)).fetchone()
                if int(row[0]) != self._epoch:
                    raise ConflictError(
                        f"another loop took over (epoch {row[0]}, this one has {self._epoch})",
                        where=str(self._path),
                        next_step="mainspring ledger",
                    )
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _put(connection: sqlite3.Connection, state: Mapping[str, str]) -> None:
    connection.executemany(
        "INSERT INTO state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        list(state.items()),
    )
