"""`Outbox`: alerts, and what became of each on its way to people, in one SQLite file that outlives its process."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mainspring.domain.codec import from_json, to_json
from mainspring.domain.decision import Alert
from mainspring.domain.errors import DataError, TemporaryError

DeliveryState = Literal["waiting", "failing", "sent", "given_up"]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS origin (value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS alert (
    id TEXT PRIMARY KEY, noted_at REAL NOT NULL, severity TEXT NOT NULL, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS delivery (
    alert TEXT NOT NULL, channel TEXT NOT NULL, state TEXT NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    first_at REAL, again_at REAL NOT NULL, ended_at REAL, said TEXT NOT NULL DEFAULT '', PRIMARY KEY (alert, channel)
);
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (channel, state, again_at);
"""
_KEPT_SECONDS = 90 * 86_400.0
_BUSY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert on its way through one channel. Times are seconds since 1970; `said` is the last failure, or what was odd.

    `failing` was tried and is tried again; `waiting` was not tried yet.
    """

    alert: Alert
    channel: str
    state: DeliveryState
    tries: int
    noted_at: float
    first_at: float | None
    again_at: float
    ended_at: float | None
    said: str


class Outbox:
    """Alerts in the order in which they came, each with its deliveries.

    What is in it when its process is killed is there at the next start. A delivery that was sent and not yet written down
    as sent is sent again, with the same key. Errors: `TemporaryError` where the file cannot be used, `DataError` where it is
    damaged.

    >>> import tempfile
    >>> from datetime import UTC, datetime
    >>> outbox = Outbox(Path(tempfile.mkdtemp()) / "alerts.db")
    >>> alert = Alert("alarm:1", "temp drifted", datetime(2026, 3, 1, tzinfo=UTC), "warning", "mainspring drift")
    >>> outbox.put(alert, ["webhook"], now=0.0), outbox.put(alert, ["webhook"], now=1.0)
    (True, False)
    >>> [one.state for one in outbox.due("webhook", now=2.0)]
    ['waiting']
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._writing() as db:
            # Not executescript: it would commit what is under way.
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            if db.execute("SELECT count(*) FROM origin").fetchone()[0] == 0:
                db.execute("INSERT INTO origin VALUES (?)", (secrets.token_hex(16),))
        with self._open() as db:
            self._origin = str(db.execute("SELECT value FROM origin").fetchone()[0])

    def key(self, alert: Alert) -> str:
        """What a receiver knows the alert by: the same at each try, and another one in another project or a new state folder."""
        return f"msg_{hashlib.sha256(f'{self._origin}:{alert.id}'.encode()).hexdigest()[:32]}"

    def put(self, alert: Alert, channels: Sequence[str], *, now: float, not_before: float = 0.0) -> bool:
        """Keep an alert, to be sent through the channels; False when it was there."""
        with self._writing() as db:
            if db.execute("SELECT 1 FROM alert WHERE id = ?", (alert.id,)).fetchone():
                return False
            db.execute(
                "INSERT INTO alert VALUES (?, ?, ?, ?)", (alert.id, now, alert.severity, to_json(alert).decode())
            )
            db.executemany(
                "INSERT INTO delivery (alert, channel, state, again_at) VALUES (?, ?, 'waiting', ?)",
                [(alert.id, one, max(now, not_before)) for one in channels],
            )
        return True

    def due(self, channel: str, *, now: float) -> list[Delivery]:
        """What is to be sent through the channel now, the oldest first."""
        asked = "d.channel = ? AND d.state IN ('waiting', 'failing') AND d.again_at <= ? ORDER BY a.noted_at, a.rowid"
        return self._deliveries(asked, (channel, now))

    def next_at(self, channel: str) -> float | None:
        """When something is to be sent through the channel; None when nothing waits."""
        with self._open() as db:
            asked = "SELECT min(again_at) FROM delivery WHERE channel = ? AND state IN ('waiting', 'failing')"
            found = db.execute(asked, (channel,)).fetchone()[0]
        return None if found is None else float(found)

    def sent(self, one: Delivery, said: str, *, now: float) -> None:
        """It got through."""
        self._end(one, "sent", said, now)

    def gave_up(self, one: Delivery, said: str, *, now: float) -> None:
        """It will not be tried again."""
        self._end(one, "given_up", said, now)

    def failed(self, one: Delivery, said: str, *, now: float, again_at: float) -> None:
        """It did not get through, and is tried again."""
        with self._writing() as db:
            db.execute(
                "UPDATE delivery SET state = 'failing', tries = tries + 1, first_at = coalesce(first_at, ?), again_at = ?, "
                "said = ? WHERE alert = ? AND channel = ?",
                (now, again_at, said, one.alert.id, one.channel),
            )

    def rest(self, channel: str, until: float, *, unless_critical: bool = False) -> None:
        """Send nothing through the channel before `until`: it asked for that, or it is quiet there."""
        with self._writing() as db:
            only = "AND alert IN (SELECT id FROM alert WHERE severity <> 'critical')" if unless_critical else ""
            db.execute(
                f"UPDATE delivery SET again_at = max(again_at, ?) WHERE channel = ? AND state IN ('waiting', 'failing') {only}",
                (until, channel),
            )

    def start(self, channels: Sequence[str], *, now: float) -> list[Delivery]:
        """Begin anew: what waited is tried at once, channels that are gone are given up, and what is old is forgotten.

        Returns what was given up.
        """
        places = ", ".join("?" for _ in channels)
        gone = self._deliveries(f"d.state IN ('waiting', 'failing') AND d.channel NOT IN ({places})", tuple(channels))
        for one in gone:
            self.gave_up(one, "the channel is not in mainspring.yaml any more", now=now)
        with self._writing() as db:
            db.execute("UPDATE delivery SET again_at = min(again_at, ?) WHERE state = 'failing'", (now,))
            old = "SELECT id FROM alert WHERE noted_at < ? AND id NOT IN (SELECT alert FROM delivery WHERE ended_at IS NULL)"
            db.execute(f"DELETE FROM delivery WHERE alert IN ({old})", (now - _KEPT_SECONDS,))
            db.execute(
                "DELETE FROM alert WHERE noted_at < ? AND id NOT IN (SELECT alert FROM delivery)",
                (now - _KEPT_SECONDS,),
            )
        return gone

    def alerts(self, last: int) -> list[tuple[Alert, list[Delivery]]]:
        """The newest alerts, oldest first, with their deliveries."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, body FROM alert ORDER BY noted_at DESC, rowid DESC LIMIT ?", (last,)
            ).fetchall()
        found: dict[str, list[Delivery]] = {}
        for one in self._deliveries("1 ORDER BY d.channel", ()):
            found.setdefault(one.alert.id, []).append(one)
        return [(from_json(Alert, body), found.get(name, [])) for name, body in reversed(rows)]

    def counts(self) -> dict[tuple[str, DeliveryState], int]:
        """How many deliveries are in which state, by channel."""
        with self._open() as db:
            rows = db.execute("SELECT channel, state, count(*) FROM delivery GROUP BY channel, state").fetchall()
        states = {str(one): one for one in get_args(DeliveryState)}
        return {(str(channel), states[state]): int(count) for channel, state, count in rows}

    def troubled(self, *, since: float) -> list[Delivery]:
        """What fails, and what was given up since then, newest first."""
        asked = (
            "d.state = 'failing' OR (d.state = 'given_up' AND d.ended_at >= ?) ORDER BY a.noted_at DESC, a.rowid DESC"
        )
        return self._deliveries(asked, (since,))

    def _end(self, one: Delivery, state: DeliveryState, said: str, now: float) -> None:
        with self._writing() as db:
            db.execute(
                "UPDATE delivery SET state = ?, tries = tries + ?, first_at = coalesce(first_at, ?), ended_at = ?, said = ? "
                "WHERE alert = ? AND channel = ?",
                (state, int(state == "sent"), now, now, said, one.alert.id, one.channel),
            )

    def _deliveries(self, asked: str, values: tuple[object, ...]) -> list[Delivery]:
        with self._open() as db:
            rows = db.execute(
                "SELECT a.body, d.channel, d.state, d.tries, a.noted_at, d.first_at, d.again_at, d.ended_at, d.said "
                f"FROM delivery d JOIN alert a ON a.id = d.alert WHERE {asked}",
                values,
            ).fetchall()
        return [Delivery(from_json(Alert, body), *rest) for body, *rest in rows]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # A connection each: the loop's thread and each channel's have nothing to wait for in one another.
        try:
            db = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            try:
                yield db
            finally:
                db.close()
        except sqlite3.OperationalError as error:
            raise TemporaryError(f"the outbox of alerts cannot be used: {error}", where=str(self._path)) from error

        except sqlite3.DatabaseError as error:
            raise DataError(f"the outbox of alerts is damaged: {error}", where=str(self._path)) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._open() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
