"""`UserBook`: the users of the rollout that is under way, remembered over restarts in one SQLite file.

A log line is counted once: what came of it and the position behind it are one transaction. So what a killed loop had not written
down is read again by the next one, however old the log is by then. A rollout's users go when the next one's come.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainspring.adapters.envoy.user_tally import UserRow, UserTally
from mainspring.domain.codec import from_json, to_json
from mainspring.domain.errors import TemporaryError
from mainspring.domain.rollout import UserRound

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

_SCHEMA = """
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), inode INTEGER, offset INTEGER, rollout TEXT,
    strays INTEGER);
CREATE TABLE IF NOT EXISTS round (number INTEGER PRIMARY KEY, began INTEGER, body TEXT);
CREATE TABLE IF NOT EXISTS user (user TEXT PRIMARY KEY, weight INTEGER, arm TEXT, since INTEGER, failed INTEGER, hour INTEGER,
    hour_failed INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS request (request TEXT PRIMARY KEY, user TEXT) WITHOUT ROWID;
"""
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Place:
    """How far the log was read: the file's inode, and the offset in it."""

    inode: int = 0
    offset: int = 0


class UserBook:
    """One rollout's users in the file at `path`; without `writes` it is only looked at, and need not exist.

    `window_seconds`: how long a user counts in a step's round. With `keeps_requests` it also knows whose each request was.
    """

    def __init__(self, path: Path, window_seconds: float, *, keeps_requests: bool = False, writes: bool = True) -> None:
        self._path = path
        self._window = round(window_seconds * 1e6)
        self._keeps_requests = keeps_requests
        self._writes = writes
        self._connection: sqlite3.Connection | None = None
        self._pid = -1

    def place(self) -> Place:
        """How far the log was read."""
        row = self._row()
        return Place(row[0], row[1]) if row else Place()

    def take(self, rollout: str, lines: Iterable[tuple[str, int, Mapping[str, Any]]], read_to: Place) -> None:
        """Count lines of the rollout, each with its user ("" for none) and its instant in microseconds, up to `read_to`."""
        with self._transaction() as db:
            row = self._row()
            before, strays = (row[2], row[3]) if row else ("", 0)
            if before != rollout:
                for table in ("round", "user", "request"):
                    db.execute(f"DELETE FROM {table}")
                strays = 0
            tally = UserTally(self._window, self._rounds(db), strays)
            found = list(lines)
            users = self._users(db, {user for user, _, _ in found if user})
            for user, at, line in found:
                tally.add(user, line, at, users)
            self._write(db, tally, users)
            if self._keeps_requests:
                owned = [(line["id"], user) for user, _, line in found if user]
                db.executemany("INSERT OR IGNORE INTO request VALUES (?, ?)", owned)
            place = (read_to.inode, read_to.offset, rollout, tally.strays)
            db.execute("INSERT OR REPLACE INTO position VALUES (1, ?, ?, ?, ?)", place)

    def rounds(self, rollout: str) -> Sequence[UserRound]:
        """The rounds of that rollout, in the order in which they began."""
        row = self._row()
        if row is None or row[2] != rollout:
            return ()
        return tuple(one for _, one in self._rounds(self._open()).values())

    def members(self, rollout: str, weight_percent: int) -> pa.Table:
        """Users who are split at that weight, oldest first: `user`, `arm`, `since`, and `requests` where they are kept."""
        import pyarrow as pa

        row, rows = self._row(), []
        owned: dict[str, list[str]] = {}
        if row is not None and row[2] == rollout:
            db = self._open()
            found = db.execute(
                "SELECT user, arm, since FROM user WHERE weight = ? ORDER BY since, user", (weight_percent,)
            )
            rows = found.fetchall()
            for request, user in db.execute("SELECT request, user FROM request"):
                owned.setdefault(user, []).append(request)
        users, arms, since = zip(*rows, strict=True) if rows else ((), (), ())
        return pa.table(
            {
                "user": pa.array(users, pa.string()),
                "arm": pa.array(arms, pa.string()),
                "since": pa.array(since, pa.timestamp("us", "UTC")),
                "requests": pa.array([owned.get(user, []) for user in users], pa.list_(pa.string())),
            }
        )

    def _row(self) -> tuple[int, int, str, int] | None:
        if not self._writes and not self._path.exists():
            return None
        try:
            db = self._open()
            # Who looks on may come while the one who counts begins.
            if not self._writes and not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'position'").fetchone():
                return None
            found: tuple[int, int, str, int] | None = db.execute(
                "SELECT inode, offset, rollout, strays FROM position"
            ).fetchone()
        except sqlite3.Error as error:
            raise self._broken(error) from error
        return found

    def _broken(self, error: sqlite3.Error) -> TemporaryError:
        self._connection = None
        return TemporaryError(
            f"what users met cannot be counted: {error}",
            where=str(self._path),
            valid="a disk with room, and a sound file; without it, what is still in the access log is counted again",
        )

    def _rounds(self, db: sqlite3.Connection) -> dict[int, tuple[int, UserRound]]:
        rows = db.execute("SELECT number, began, body FROM round ORDER BY number").fetchall()
        return {number: (began, from_json(UserRound, body)) for number, began, body in rows}

    def _users(self, db: sqlite3.Connection, wanted: set[str]) -> dict[str, UserRow]:
        found, names = {}, sorted(wanted)
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT user, weight, arm, since, failed, hour, hour_failed FROM user WHERE user IN ({marks})"
            for user, weight, arm, since, failed, hour, hour_failed in db.execute(query, some):
                found[user] = UserRow(weight, arm, since, bool(failed), hour, bool(hour_failed))
        return found

    def _write(self, db: sqlite3.Connection, tally: UserTally, users: Mapping[str, UserRow]) -> None:
        db.executemany(
            "INSERT OR REPLACE INTO round VALUES (?, ?, ?)",
            [(number, began, to_json(one).decode()) for number, (began, one) in tally.changed().items()],
        )
        db.executemany(
            "INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (name, one.weight, one.arm, one.since, one.failed, one.hour, one.hour_failed)
                for name, one in users.items()
            ],
        )

    def _open(self) -> sqlite3.Connection:
        # A connection must not be carried over a fork: SQLite's locks belong to the process that took them.
        if self._connection is None or self._pid != os.getpid():
            if self._writes:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._connection = sqlite3.connect(
                    self._path, timeout=30, isolation_level=None, check_same_thread=False
                )
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                self._connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            else:
                self._connection = sqlite3.connect(
                    f"file:{self._path}?mode=ro", timeout=30, isolation_level=None, uri=True, check_same_thread=False
                )
            self._pid = os.getpid()
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._broken(error) from error
