"""`SunkPredictionLog`: the whole prediction log, hours that only its sink has any more among them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mainspring.adapters.parquet.tables import IDENTITY, alike, chosen, once, within
from mainspring.adapters.sinks.hours import HeldHour, HourStore
from mainspring.domain.time import TimeWindow

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.adapters.parquet.prediction_log import ParquetPredictionLog
    from mainspring.adapters.sinks.state import SinkState


class SunkPredictionLog:
    """`PredictionLog` on the files here and on the sink; the sink is asked for what is not here, and for nothing else.

    Hours that other writers sent to the same place are read with it. Errors: those of the sink, when it is needed.
    """

    def __init__(self, local: ParquetPredictionLog, store: HourStore, state: SinkState) -> None:
        self._local = local
        self._store = store
        self._state = state

    def compact(self) -> int:
        """What the local log does."""
        return self._local.compact()

    def read(self, window: TimeWindow | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows whose event time lies in the window, oldest first, each identity once; an answer wins over a failure."""
        import pyarrow as pa

        wanted = None if columns is None else list(dict.fromkeys([*columns, *IDENTITY, "outcome", "event_at"]))
        # The sink before the files here: what is let go of in between is read twice, and counts once.
        there = [table for hour in self._absent(window) if (table := self._store.get(hour, wanted)) is not None]
        if not there:
            return self._local.read(window, columns)
        here = self._local.read(window, wanted)
        table = once(within(pa.concat_tables(alike([*there, here]), promote_options="default"), window))
        return table if columns is None else table.select(list(columns))

    def newest(self, count: int, *, since: datetime | None = None, failed: bool = False) -> pa.Table:
        """The newest `count` rows, oldest first; the sink is asked only when there are not as many here."""
        found = self._local.newest(count, since=since, failed=failed)
        if found.num_rows >= count:
            return found
        end = datetime.max.replace(tzinfo=UTC)
        start = since if since is not None else datetime.min.replace(tzinfo=UTC)
        for hour in sorted(self._absent(TimeWindow(start, end)), key=lambda one: one.at, reverse=True):
            table = self._store.get(hour)
            if table is None:
                continue
            found = chosen([table, found], since, failed)
            newer = TimeWindow(hour.at, end)
            if within(found, newer).num_rows >= count:
                break
        return found.slice(max(0, found.num_rows - count))

    def _absent(self, window: TimeWindow | None) -> list[HeldHour]:
        """Hours of the sink that are not here, or not all of them."""
        if window is not None:
            # An hour that began before the window reaches into it.
            start = max(window.start, datetime.min.replace(tzinfo=UTC) + timedelta(hours=1)) - timedelta(hours=1)
            window = TimeWindow(start, window.end)
        known = self._state.all()
        here = {at for at, _ in self._local.hours_back()}
        writer = self._state.writer
        return [
            one
            for one in self._store.hours(window)
            if one.writer != writer or one.at not in here or (one.at in known and known[one.at].gone)
        ]
