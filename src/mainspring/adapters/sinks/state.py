"""`SinkState`: what one sink has, as far as this project knows, hour by hour; in SQLite, so that it survives SIGKILL.

What is written here was acknowledged by the sink before. What was sent and not written here is sent again.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mainspring.domain.log_record import microseconds

_SCHEMA = """
CREATE TABLE IF NOT EXISTS hour (
    sink TEXT NOT NULL, at INTEGER NOT NULL, signature TEXT NOT NULL, rows INTEGER NOT NULL, digest TEXT NOT NULL,
    bytes INTEGER NOT NULL, sent_at INTEGER NOT NULL, confirmed INTEGER NOT NULL, gone INTEGER NOT NULL,
    PRIMARY KEY (sink, at)
)
"""
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class SentHour:
    """An hour that the sink acknowledged.

    `signature` names the files here that it was made of ("": it has to be looked at again), `rows` and `digest` what was sent
    ("": it is not there, and has to be sent again). `confirmed`:
    looked at again, a while later, and there. `gone`: its files here were deleted, so that the sink alone has it.
    """

    at: datetime
    signature: str
    rows: int
    digest: str
    bytes: int
    sent_at: datetime
    confirmed: bool = False
    gone: bool = False


class SinkState:
    """The hours of the sink with that URL. `folder` is of all sinks that a project ever had."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._sink = hashlib.blake2b(url.rstrip("/").encode(), digest_size=8).hexdigest()

    @property
    def writer(self) -> str:
        """This project's name in the sink. Made once: two that send to one place do not touch each other's hours."""
        path = self._folder / "writer"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".writer.{os.getpid()}.part")
            part.write_text(secrets.token_hex(_DIGITS // 2), encoding="ascii")
            try:
                os.link(part, path)
            except FileExistsError:
                pass  # somebody else was first
            finally:
                part.unlink()
        return path.read_text(encoding="ascii")

    def all(self) -> dict[datetime, SentHour]:
        """Every hour, oldest first."""
        return {one.at: one for one in self._read("")}

    def one(self, at: datetime) -> SentHour | None:
        """An hour, None when the sink has nothing of it."""
        return next(iter(self._read("AND at = ?", microseconds(at))), None)

    def older(self, than: datetime) -> list[SentHour]:
        """Hours that ended before an instant, oldest first."""
        return self._read("AND at <= ?", microseconds(than - timedelta(hours=1)))

    def _read(self, condition: str, *values: int) -> list[SentHour]:
        if not (self._folder / "hours.db").exists():
            return []
        columns = "at, signature, rows, digest, bytes, sent_at, confirmed, gone"
        with self._open() as db:
            rows = db.execute(
                f"SELECT {columns} FROM hour WHERE sink = ? {condition} ORDER BY at", (self._sink, *values)
            ).fetchall()
        return [
            SentHour(_at(at), sign, count, digest, size, _at(sent), bool(confirmed), bool(gone))
            for at, sign, count, digest, size, sent, confirmed, gone in rows
        ]

    def put(self, one: SentHour) -> None:
        """Write an hour down in place of what was known of it."""
        row = (
            self._sink, microseconds(one.at), one.signature, one.rows, one.digest, one.bytes, microseconds(one.sent_at),
            int(one.confirmed), int(one.gone),
        )  # fmt: skip
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO hour VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def forget(self, at: datetime) -> None:
        """The sink has nothing of the hour any more."""
        with self._open() as db:
            db.execute("DELETE FROM hour WHERE sink = ? AND at = ?", (self._sink, microseconds(at)))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one statement: this is asked by a thread of the loop and by commands."""
        self._folder.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._folder / "hours.db", timeout=30, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(_SCHEMA)
            yield db
        finally:
            db.close()


def _at(number: int) -> datetime:
    return datetime.fromtimestamp(number / 1_000_000, UTC)
