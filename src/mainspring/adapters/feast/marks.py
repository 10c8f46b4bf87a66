"""How far the online store was brought, view by view; kept beside its rows, in the same SQLite file.

In the same file because of its log: where a mark survived a power cut, so did every row that was committed before it.
A store elsewhere holds a token of the marks: one that lost its rows lost the token as well.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mainspring_store (token TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mainspring_mark (
    view TEXT PRIMARY KEY, definition TEXT NOT NULL, until TEXT, dirty_since TEXT, newest_known TEXT, files TEXT NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Mark:
    """One view's mark.

    `until`: the online store has what was known then. `dirty_since`: the earliest event time among rows that were
    appended after that was written. `newest_known`: when the last of all appended rows becomes known. `files`: the
    state of files that others write. None: never, or none.
    """

    until: datetime | None = None
    dirty_since: datetime | None = None
    newest_known: datetime | None = None
    files: str = ""


class Marks:
    """The marks of one online store."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        # Predictors read while the loop writes; and what is lost in a power cut is written again from the files.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def token(self) -> str:
        """What a store elsewhere holds of these marks; empty when nothing was written to it yet."""
        row = self._connection.execute("SELECT token FROM mainspring_store").fetchone()
        return "" if row is None else str(row[0])

    def begin(self, token: str) -> None:
        """Take it that nothing is in the online store, which holds this token from now on."""
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.execute("UPDATE mainspring_mark SET until = NULL, dirty_since = NULL, files = ''")
            self._connection.execute("DELETE FROM mainspring_store")
            self._connection.execute("INSERT INTO mainspring_store VALUES (?)", (token,))

    def get(self, view: str, definition: str) -> Mark:
        """The view's mark; only what it says of the rows when the view was defined otherwise."""
        row = self._connection.execute(
            "SELECT until, dirty_since, newest_known, files, definition FROM mainspring_mark WHERE view = ?", (view,)
        ).fetchone()
        if row is None:
            return Mark()
        until, dirty, newest = (None if text is None else datetime.fromisoformat(text) for text in row[:3])
        return Mark(until, dirty, newest, row[3]) if row[4] == definition else Mark(newest_known=newest)

    def put(self, view: str, definition: str, mark: Mark) -> None:
        """Write the view's mark; durable once it returned, against all but a power cut."""
        times = (None if at is None else at.isoformat() for at in (mark.until, mark.dirty_since, mark.newest_known))
        self._connection.execute(
            "INSERT OR REPLACE INTO mainspring_mark VALUES (?, ?, ?, ?, ?, ?)", (view, definition, *times, mark.files)
        )
