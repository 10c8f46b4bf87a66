"""Rows of the prediction log as drift counts them: what was asked, once an hour, and what one version answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mainspring.drift.cells import MISTYPED, NULL, Cells, Floats, Integers
from mainspring.drift.columns import fits, is_text, numbers
from mainspring.drift.placing import WindowedCounts, windowed
from mainspring.drift.profile import CONFIDENCE, PREDICTION, Profile
from mainspring.prediction_log.requests import NEEDED, asked_once

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class CountedRows:
    """Features of all that was asked, and what the version answered; both with `event_at`, oldest first."""

    profile: Profile
    asked: pa.Table
    answered: pa.Table

    def by_window(self, bounds: Integers) -> dict[str, WindowedCounts]:
        """Counts of each window from `bounds[i]` to `bounds[i + 1]` (microseconds since 1970); all rows lie in one."""
        found = {}
        for table in (self.asked, self.answered):
            window = np.searchsorted(bounds, _microseconds(table), side="right") - 1
            for name in table.column_names[1:]:
                cells = self.profile.cells[name]
                column, odd = _as_logged(cells, table.column(name))
                one = windowed(cells, column, window, len(bounds) - 1)
                found[name] = one if odd is None else _mistyped(cells, one, window[odd])
        return found


def needed(names: Sequence[str]) -> list[str]:
    """The log's columns that counting these features takes."""
    return [*NEEDED, "version", "event_at", "output", "flags", *(f"feature.{name}" for name in names)]


def counted_rows(
    profile: Profile, rows: pa.Table, names: Sequence[str], version: str, classes: Sequence[str]
) -> CountedRows:
    """What counts of `rows`. Of several classes `classes` are the model's, in the order of its outputs.

    A question counts once in each hour, however many models answered it. Predictions of another version are not this one's;
    features are the same whoever answered.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    hour = pc.cast(pc.floor_temporal(rows.column("event_at"), unit="hour"), pa.int64())
    own_hour = pc.binary_join_element_wise(rows.column("request_id"), pc.cast(hour, pa.string()), " ")
    rows = rows.set_column(rows.column_names.index("request_id"), "request_id", own_hour)
    rows = asked_once(rows, prefer=version)
    columns: dict[str, Any] = {name: rows.column(f"feature.{name}") for name in names}
    for name, places in _defaulted(rows.column("flags")).items():
        if name in columns:
            # What stood in was not observed: many defaults would make a cell of their own that no data has.
            there = np.ones(rows.num_rows, np.bool_)
            there[places] = False
            columns[name] = pc.if_else(pa.array(there), columns[name], None)
    own = rows.filter(pc.equal(rows.column("version"), version))
    answered = _answers(profile, own.column("output"), classes)
    return CountedRows(
        profile,
        pa.table({"event_at": rows.column("event_at"), **columns}),
        pa.table({"event_at": own.column("event_at"), **answered}),
    )


def values_of(rows: pa.Table, name: str, version: str) -> Floats | None:
    """One feature's numbers as they are counted; None where it is text."""
    import pyarrow as pa

    counted = counted_rows(Profile({}, {}), rows, [name], version, ())
    column = counted.asked.column(name)
    return None if is_text(column.type) or pa.types.is_null(column.type) else numbers(column)


def _answers(profile: Profile, outputs: pa.ChunkedArray, classes: Sequence[str]) -> dict[str, Any]:
    import pyarrow as pa

    lists = outputs.to_pylist()
    if PREDICTION not in profile.cells:
        return {}
    if CONFIDENCE not in profile.cells:
        # Profiles of the first format have the largest chance of several classes here.
        return {PREDICTION: pa.array([max(one, default=None) for one in lists], pa.float64())}
    best = [max(range(len(one)), key=one.__getitem__, default=None) for one in lists]
    names = [None if place is None or place >= len(classes) else classes[place] for place in best]
    return {
        PREDICTION: pa.array(names, pa.string()),
        CONFIDENCE: pa.array([max(one, default=None) for one in lists], pa.float64()),
    }


def _as_logged(cells: Cells, column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Integers | None]:
    """A column as its cells take it, and the rows that are of another type, None where it is of one type.

    Where files disagree on a column's type, the log has text: what reads as a number there was one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if fits(cells.kind, column.type) or not cells.ordered or not is_text(column.type):
        return column, None
    number = pc.match_substring_regex(column, r"^-?(\d+\.?\d*([eE][+-]?\d+)?|nan|inf)$")
    odd = np.flatnonzero(pc.fill_null(pc.invert(number), False).to_numpy(zero_copy_only=False))
    return pc.if_else(number, column, None).cast(pa.float64()), odd


def _mistyped(cells: Cells, counts: WindowedCounts, windows: Integers) -> WindowedCounts:
    """Rows that were counted as null, counted as another type."""
    dense = np.zeros((len(counts.tails), cells.width), np.int64)
    dense[counts.windows, counts.places] = counts.rows
    np.add.at(dense[:, cells.size + NULL], windows, -1)
    np.add.at(dense[:, cells.size + MISTYPED], windows, 1)
    at, places = np.nonzero(dense)
    return replace(counts, windows=at, places=places, rows=dense[at, places])


def _defaulted(flags: pa.ChunkedArray) -> dict[str, Integers]:
    """Of each feature the rows in which a default stood in for it."""
    import pyarrow.compute as pc

    texts, rows = pc.list_flatten(flags), pc.list_parent_indices(flags)
    found = {}
    for text in texts.unique().to_pylist():
        kind, _, name = text.partition(":")
        if kind == "defaulted":
            found[name] = rows.filter(pc.equal(texts, text)).to_numpy()
    return found


def _microseconds(table: pa.Table) -> Integers:
    found: Integers = table.column("event_at").to_numpy().astype("datetime64[us]").astype(np.int64)
    return found
