"""`Shipper`: sends hours of the prediction log to a sink until the sink has what is here, and lets go of what it has.

Level-triggered: what is here is compared with what the sink acknowledged, and an hour that differs is sent whole. Nothing
depends on where the one before was killed, or on what the sink did when it did not answer: an hour that was sent is looked
at again a while later, and sent again where it is not what was sent.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mainspring.adapters.processes.locks import locked
from mainspring.adapters.sinks.hours import HOUR, HeldHour, HourStore, Receipt, digest_of, in_order
from mainspring.adapters.sinks.local_hours import LocalHour, count_of, local_hours, look, rows_of, together
from mainspring.adapters.sinks.state import SentHour, SinkState
from mainspring.telemetry.logs import Log

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
    from mainspring.settings.log_sink import SinkSettings
    from mainspring.settings.paths import ProjectPaths

SETTLE = timedelta(minutes=10)
"""How long after it was sent an hour is looked at again: longer than a write that was given up may still come through."""
_LATE = timedelta(minutes=1)
"""How long an hour that is over waits for answers that were asked for within it."""
_LARGE_BYTES = 16 * 1024 * 1024
_GROWTH = 1.25
"""By how much a large hour has grown before it is sent again: all that is ever sent of it is at most five times its size."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the sink does not have yet: rows, in how many hours, and the beginning of the oldest one."""

    rows: int
    hours: int
    oldest: datetime | None
    held_rows: int = 0

    def seconds(self, now: datetime) -> float:
        """How old the oldest of these hours is."""
        return 0.0 if self.oldest is None else max(0.0, (now - self.oldest).total_seconds())


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one turn did: rows and hours that were sent, hours that were found to be other than sent, and let go of here."""

    rows: int = 0
    hours: int = 0
    mended: int = 0
    let_go: int = 0


class Shipper:
    """Brings one sink up to the log. Everybody who writes to the sink from this project holds `alone()`."""

    def __init__(
        self, settings: SinkSettings, paths: ProjectPaths, log: ParquetPredictionLog, store: HourStore
    ) -> None:
        self.settings = settings
        self.state = SinkState(paths.log_sink, settings.url)
        self._lock = paths.log_sink / "lock"
        self._log = log
        self.store = store
        self._report = Log()

    def alone(self) -> AbstractContextManager[None]:
        """Nobody else of this project writes to the sink meanwhile."""
        return locked(self._lock)

    def turn(self, now: datetime, *, everything: bool = False, ending: Callable[[], bool] = lambda: False) -> Shipped:
        """Send what is due, look again at what was sent, let go of what the sink has; `everything`: also what is not due.

        Each hour is written down as soon as it was sent. `ending` is asked before each one. Errors: those of the sink; what
        was sent until then stays sent.
        """
        rows = hours = 0
        for hour in self._due(now, everything):
            if ending():
                return Shipped(rows, hours)
            sent = self.send(hour, now)
            rows, hours = rows + sent, hours + 1
        return Shipped(rows, hours, self._look_again(now, ending), self._let_go(now, ending))

    def send(self, hour: LocalHour, now: datetime) -> int:
        """Make the sink's hour what is here. Of an hour that was let go of, or that has more there, the union. Rows sent."""
        with self.alone():
            known = self.state.one(hour.at)
            here = look(hour.at, hour.folder)  # before the rows: what is written meanwhile is another signature
            table = rows_of(hour) if here is not None else None
            if here is None or table is None:
                return 0
            held = HeldHour(hour.at, self.state.writer)
            if known is None or known.gone or _lost(known.signature, here.signature):
                # What went from here, by whatever hand, takes nothing away from there.
                there = self.store.get(held)
                table = table if there is None else together([table, there])
            table = in_order(table)
            digest = digest_of(table)
            if known is None or known.digest != digest:
                self.store.put(held, table, digest)
                known = SentHour(
                    hour.at, "", table.num_rows, digest, here.bytes, now, False, bool(known and known.gone)
                )
                sent = True
            else:
                sent = False
            self.state.put(replace(known, signature=here.signature))
            return known.rows if sent else 0

    def replace_hour(self, at: datetime, table: pa.Table | None, now: datetime) -> None:
        """Make these rows all that the sink has of an hour, None or no rows: nothing. For who holds `alone()`."""
        held, known = HeldHour(at, self.state.writer), self.state.one(at)
        if table is None or not table.num_rows:
            self.store.remove(held)
            self.state.forget(at)
            return
        table = in_order(table)
        digest = digest_of(table)
        self.store.put(held, table, digest)
        # Sent anew as soon as somebody looks at the files here.
        gone = known is not None and known.gone
        size = known.bytes if known is not None else table.nbytes
        self.state.put(SentHour(at, "", table.num_rows, digest, size, now, False, gone))

    def backlog(self) -> Backlog:
        """What is not in the sink; nothing is asked of it."""
        return backlog(self._log, self.state)

    def remove_older(self, than: datetime) -> list[SentHour]:
        """Delete hours there that ended before an instant; those that went. Errors: those of the sink."""
        gone = []
        for one in self.state.older(than):
            with self.alone():
                self.store.remove(HeldHour(one.at, self.state.writer))
                self.state.forget(one.at)
            gone.append(one)
        return gone

    def _due(self, now: datetime, everything: bool) -> Iterator[LocalHour]:
        known = self.state.all()
        for hour in local_hours(self._log):
            sent = known.get(hour.at)
            if sent is not None and sent.signature == hour.signature and sent.digest:
                continue
            if everything or sent is None or not sent.signature or not sent.digest:
                yield hour
                continue
            over = sent.sent_at < hour.at + HOUR + _LATE <= now
            again = now - sent.sent_at >= self.settings.every
            grown = hour.bytes < _LARGE_BYTES or hour.bytes >= _GROWTH * sent.bytes or now >= hour.at + HOUR
            if over or (again and grown):
                yield hour

    def _look_again(self, now: datetime, ending: Callable[[], bool]) -> int:
        mended = 0
        for at, one in self.state.all().items():
            if one.confirmed or now - one.sent_at < SETTLE or ending():
                continue
            with self.alone():
                current = self.state.one(at)
                if current is None or current.sent_at != one.sent_at:
                    continue
                there = self.store.look(HeldHour(at, self.state.writer))
                if there == Receipt(current.rows, current.digest):
                    self.state.put(replace(current, confirmed=True))
                    continue
                # A write that was given up came through after the next one, or somebody else wrote there.
                self._report.error(
                    "the log's sink does not have what was sent; it is sent again", hour=str(at), sink=self.settings.url
                )
                self.state.put(replace(current, digest="", sent_at=now))
                mended += 1
        return mended

    def _let_go(self, now: datetime, ending: Callable[[], bool]) -> int:
        """Delete hours here that the sink has for sure, once they are as old as `local` says."""
        local = self.settings.local
        if local is None or any(self._log.forgettings.glob("*.json")):
            return 0
        count = 0
        for hour in local_hours(self._log):
            if hour.at + HOUR + local > now or ending():
                break
            with self.alone(), self._log.alone():
                sent, here = self.state.one(hour.at), look(hour.at, hour.folder)
                if (
                    sent is None
                    or here is None
                    or not sent.confirmed
                    or not sent.digest
                    or sent.signature != here.signature
                ):
                    continue
                self.state.put(replace(sent, gone=True))
                shutil.rmtree(hour.folder, ignore_errors=True)
                if not any(hour.folder.parent.iterdir()):
                    hour.folder.parent.rmdir()
                count += 1
        return count


def _lost(before: str, now: str) -> bool:
    """Whether a file that was sent is not here any more, or holds something else; merged into another one, it might."""
    return not before or bool(set(before.split("\n")) - set(now.split("\n")))


def backlog(log: ParquetPredictionLog, state: SinkState) -> Backlog:
    """What is here and not in the sink, as far as is known here."""
    known = state.all()
    rows, waiting = 0, []
    for hour in local_hours(log):
        sent = known.get(hour.at)
        if sent is None or sent.signature != hour.signature or not sent.digest:
            has = sent.rows if sent is not None and sent.digest and not sent.gone else 0
            rows += max(count_of(hour) - has, 0)
            waiting.append(hour.at)
    return Backlog(rows, len(waiting), min(waiting, default=None), sum(one.rows for one in known.values()))
