"""`SunkForgetting`: rows that are to be forgotten, in the log's sink: each hour that has some is sent anew without them.

It comes after the files here: what is sent from then on has none of them. Called again it does what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mainspring.adapters.sinks.hours import HeldHour

if TYPE_CHECKING:
    from mainspring.adapters.parquet.forgetting import LogForgetting, Terms
    from mainspring.adapters.sinks.shipper import Shipper


class SunkForgetting:
    """Forgets rows that this project sent; nothing where it has no sink. Errors: those of the sink."""

    def __init__(self, shipper: Shipper | None, forgetting: LogForgetting) -> None:
        self._shipper = shipper
        self._forgetting = forgetting

    def columns(self) -> list[str]:
        """Columns of the newest hours that only the sink has."""
        if self._shipper is None:
            return []
        gone = [one for one in self._shipper.state.all().values() if one.gone][-3:]
        found: list[str] = []
        for one in gone:
            table = self._shipper.store.get(HeldHour(one.at, self._shipper.state.writer))
            found += table.column_names if table is not None else []
        return found

    def count(self, terms: Terms) -> int:
        """How many rows would go."""
        return sum(count for _, count in self._with_some(terms))

    def carry_out(self, terms: Terms) -> int:
        """Take them out, hour by hour; how many went."""
        if self._shipper is None:
            return 0
        gone = 0
        for hour, _ in self._with_some(terms):
            with self._shipper.alone():
                table = self._shipper.store.get(hour)
                if table is None:
                    continue
                kept = self._forgetting.without(table, terms)
                self._shipper.replace_hour(hour.at, kept, datetime.now(UTC))
                gone += table.num_rows - kept.num_rows
        return gone

    def _with_some(self, terms: Terms) -> Iterator[tuple[HeldHour, int]]:
        if self._shipper is None:
            return
        # What the sender is about to send, it has read before the files here were written anew.
        with self._shipper.alone():
            store, writer = self._shipper.store, self._shipper.state.writer
        columns = [name for column in terms for name in (column, f"entity.{column}", f"feature.{column}")]
        for hour in store.hours():
            if hour.writer != writer:
                continue
            table = store.get(hour, [*columns, "event_at"])
            count = 0 if table is None else table.num_rows - self._forgetting.without(table, terms).num_rows
            if count:
                yield hour, count
