"""Whether a sink has what was sent: counts and digests of every hour against what is there, and the rows' own quality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from mainspring.adapters.parquet.tables import IDENTITY, within
from mainspring.adapters.sinks.hours import HOUR, HeldHour, HourStore, Receipt, digest_of, in_order
from mainspring.adapters.sinks.local_hours import local_hours
from mainspring.adapters.sinks.state import SinkState

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog

Problem = Literal["missing", "other", "unreadable", "unknown", "unsent", "null", "double", "misplaced"]


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with an hour: `missing` there, `other` than sent, `unreadable`, `unknown` here, `unsent` yet; of its rows
    `null` identities or times, `double` identities, `misplaced` ones that belong to another hour."""

    hour: datetime
    problem: Problem
    rows: int
    text: str

    @property
    def waits(self) -> bool:
        """Nothing is wrong: its turn has not come."""
        return self.problem == "unsent"


@dataclass(frozen=True, slots=True)
class Checked:
    """Hours and rows that the sink has as they were sent, what is wrong, and stretches of hours without a row."""

    hours: int
    rows: int
    flaws: tuple[Flaw, ...]
    gaps: tuple[tuple[datetime, datetime], ...]
    others: int
    """Hours that other writers sent to the same place."""

    @property
    def fine(self) -> bool:
        """Whether the sink has everything that was sent, and as it was sent."""
        return all(one.waits for one in self.flaws)


def check(log: ParquetPredictionLog, store: HourStore, state: SinkState, *, rows: bool) -> Checked:
    """Compare what is known here with what is there; with `rows` every row is read, otherwise what the sink says of each hour.

    Errors: those of the sink.
    """
    known, writer = state.all(), state.writer
    listed = list(store.hours())
    own = {one.at for one in listed if one.writer == writer}
    flaws = [*_unsent(log, state)]
    flaws += [
        Flaw(at, "unknown", 0, "the sink has it, and nothing here says that it was sent")
        for at in sorted(own - set(known))
    ]
    count = 0
    for at, sent in known.items():
        held = HeldHour(at, writer)
        there = store.look(held) if at in own else None
        if there is None:
            flaws.append(Flaw(at, "missing", sent.rows, f"{sent.rows:,} rows were sent, and are not there"))
            continue
        if there != Receipt(sent.rows, sent.digest):
            flaws.append(
                Flaw(at, "other", there.rows, f"{there.rows:,} rows are there, {sent.rows:,} were sent last, or others")
            )
            continue
        found = list(_of_rows(held, sent.digest, store)) if rows else []
        flaws += found
        count += sent.rows
    return Checked(len(known), count, tuple(flaws), tuple(_gaps(sorted(own | set(known)))), len(listed) - len(own))


def _unsent(log: ParquetPredictionLog, state: SinkState) -> Iterator[Flaw]:
    known = state.all()
    for hour in local_hours(log):
        sent = known.get(hour.at)
        if sent is None or sent.signature != hour.signature:
            yield Flaw(hour.at, "unsent", 0, "something here is newer than what was sent")


def _of_rows(held: HeldHour, digest: str, store: HourStore) -> Iterator[Flaw]:
    from mainspring.domain.errors import DataError

    try:
        table = store.get(held)
    except DataError as error:
        yield Flaw(held.at, "unreadable", 0, error.what)
        return
    if table is None:
        return  # deleted in between
    if digest_of(in_order(table)) != digest:
        yield Flaw(held.at, "other", table.num_rows, "its rows are not those that were sent")
    yield from quality(held, table)


def quality(held: HeldHour, table: pa.Table) -> Iterator[Flaw]:
    """What is wrong with rows whoever wrote them: nulls and doubles among identities, times of another hour."""
    import pyarrow.compute as pc

    nulls = sum(table.column(name).null_count for name in (*IDENTITY, "event_at"))
    if nulls:
        yield Flaw(held.at, "null", nulls, f"{nulls:,} identities or times are null")
    distinct = table.select(list(IDENTITY)).group_by(list(IDENTITY)).aggregate([]).num_rows
    if distinct < table.num_rows:
        yield Flaw(held.at, "double", table.num_rows - distinct, f"{table.num_rows - distinct:,} rows are there twice")
    there = table.filter(pc.is_valid(table.column("event_at")))
    outside = there.num_rows - within(there, held.window).num_rows
    if outside:
        yield Flaw(held.at, "misplaced", outside, f"{outside:,} rows are of another hour")


def _gaps(hours: list[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """Stretches between the first hour and the last in which no hour has a row."""
    for one, following in pairwise(hours):
        if following - one > HOUR:
            yield one + HOUR, following
