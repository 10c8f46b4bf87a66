"""The SQL of counts: one aggregation for each feature under UNION ALL. What differs between engines is a method here.

A query answers with rows of (feature, cell, rows, total, least, greatest): `feature` is the value's place; `cell` a cell, or
below zero one of what is in no cell: -1 null, -2 NaN, -3 and -4 the infinities, -5 mistyped. The last three are there
for the outermost cells alone, and `total` is scaled by 2^-64: engines refuse a sum that overflows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from mainspring.adapters.ibis.values import Value
from mainspring.drift.cells import Cells, Counts, joined_tails

WINDOW = "mainspring_window"
SCALE = 2.0**64
_SMALL = 1e-200
"""What is smaller counts as zero in a total: scaled down, it could underflow, which PostgreSQL refuses."""


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and its parameters by name, where the engine takes them beside its text."""

    sql: str
    parameters: Mapping[str, Sequence[Any]] = field(default_factory=dict)


class Dialect(ABC):
    """How one engine counts."""

    double: ClassVar[str] = "DOUBLE"
    integer: ClassVar[str] = "BIGINT"
    sqlglot: ClassVar[str] = ""
    """The dialect's name for quoting texts; "" is standard SQL."""
    cte: ClassVar[str] = "AS"
    most_characters: ClassVar[int] = 4_000_000
    """Of edges and categories in one query; more make several."""
    most_features: ClassVar[int] = 100
    """In one query: planning may take more than linear time."""

    @abstractmethod
    def cell(self, value: Value, v: str) -> str:
        """SQL for the number of edges below the finite number `v`: that is its cell."""

    @abstractmethod
    def micros(self, value: Value) -> str:
        """SQL for a time as float64 microseconds since 1970 UTC."""

    @abstractmethod
    def bucket(self) -> str:
        """SQL for the first byte of the MD5 of the text `v` in UTF-8, as a number."""

    @abstractmethod
    def position(self, value: Value) -> str:
        """SQL for the place of the text `v` among the categories, counted from 0; NULL where it is none."""

    def is_nan(self, v: str) -> str:
        """SQL for whether the number `v` is NaN."""
        return f"isnan({v})"

    def parameters(self, values: Sequence[Value]) -> Mapping[str, Sequence[Any]]:
        """What goes beside the text."""
        del values
        return {}

    def queries(self, values: Sequence[Value], window: Callable[[Sequence[Value]], str]) -> list[Query]:
        """The queries for a window; `window` is its SELECT with the columns of some values, as Ibis writes it."""
        return [
            Query(
                f"WITH {WINDOW} {self.cte} ({window(batch)}) " + " UNION ALL ".join(self.branches(batch)),
                self.parameters(batch),
            )
            for batch in _batches(values, self.most_features, self.most_characters)
        ]

    def branches(self, values: Sequence[Value]) -> Iterable[str]:
        """The SELECTs that are put together by UNION ALL."""
        for value in values:
            yield {"number": self.numbers, "time": self.numbers, "text": self.texts, "mistyped": self.mistyped}[
                value.form
            ](value)

    def number(self, value: Value) -> str:
        """SQL for the value as float64."""
        return self.micros(value) if value.form == "time" else value.column

    def code(self, value: Value, v: str = "v") -> str:
        """SQL for the cell of the number `v`, whatever it is."""
        apart = f"WHEN {v} IS NULL THEN -1 WHEN {self.is_nan(v)} THEN -2"
        if value.cells.kind == "boolean":
            return f"CASE {apart} WHEN {v} = 0 THEN 0 WHEN {v} = 1 THEN 1 ELSE 2 END"
        infinities = [f"CAST('{one}Infinity' AS {self.double})" for one in ("", "-")]
        return (
            f"CASE {apart} WHEN {v} = {infinities[0]} THEN -3 WHEN {v} = {infinities[1]} THEN -4 "
            f"ELSE {self.cell(value, v) if len(value.cells.edges) else '0'} END"
        )

    def numbers(self, value: Value) -> str:
        """The SELECT for a number or a time."""
        coded = f"SELECT v, {self.code(value)} AS cell FROM (SELECT {self.number(value)} AS v FROM {WINDOW}) AS {value.column}a"
        return self.grouped(value, coded)

    def grouped(self, value: Value, coded: str) -> str:
        """Rows of (v, cell) counted by cell."""
        return (
            f"SELECT {value.place} AS feature, cell, COUNT(*) AS n, {self.tails(outside(value))} "
            f"FROM ({coded}) AS {value.column}b GROUP BY cell"
        )

    def tails(self, condition: str, v: str = "v", names: Sequence[str] = ("total", "least", "greatest")) -> str:
        """Total, least and greatest of the numbers `v` for which the condition holds."""
        if not condition:
            return self.no_tails()
        scaled = f"CASE WHEN {v} > -{_SMALL!r} AND {v} < {_SMALL!r} THEN 0 ELSE {v} * {1 / SCALE!r} END"
        return (
            f"SUM(CASE WHEN {condition} THEN {scaled} END) AS {names[0]}, "
            f"MIN(CASE WHEN {condition} THEN {v} END) AS {names[1]}, MAX(CASE WHEN {condition} THEN {v} END) AS {names[2]}"
        )

    def no_tails(self) -> str:
        """Three columns without a value."""
        return ", ".join(f"CAST(NULL AS {self.double}) AS {name}" for name in ("total", "least", "greatest"))

    def texts(self, value: Value) -> str:
        """The SELECT for a text: counted by what it is first, so that each different one is looked up once."""
        known = (
            self.bucket()
            if value.cells.kind == "hashed"
            else f"COALESCE({self.position(value)}, {value.cells.size - 1})"
        )
        return (
            f"SELECT {value.place} AS feature, cell, CAST(SUM(n) AS {self.integer}) AS n, {self.no_tails()} FROM "
            f"(SELECT CASE WHEN v IS NULL OR v = '' THEN -1 ELSE {known} END AS cell, n FROM "
            f"(SELECT v, COUNT(*) AS n FROM (SELECT {self.text(value)} AS v FROM {WINDOW}) AS {value.column}a GROUP BY v) "
            f"AS {value.column}b) AS {value.column}c GROUP BY cell"
        )

    def text(self, value: Value) -> str:
        """SQL for the value as text, compared byte by byte."""
        return value.column

    def mistyped(self, value: Value) -> str:
        """The SELECT for a column of another type: what is null, and what is not."""
        return (
            f"SELECT {value.place} AS feature, cell, COUNT(*) AS n, {self.no_tails()} FROM "
            f"(SELECT CASE WHEN {value.column} IS NULL THEN -1 ELSE -5 END AS cell FROM {WINDOW}) "
            f"AS {value.column}a GROUP BY cell"
        )

    def literal(self, text: str) -> str:
        """A text as a literal."""
        import sqlglot.expressions as sge

        return str(sge.Literal.string(text).sql(self.sqlglot or None))


class OneScan(Dialect):
    """An engine that turns a row into one row for each of its numbers, and so reads the window once for all of them."""

    @abstractmethod
    def exploded(self, values: Sequence[Value]) -> str:
        """SELECT of (feature, v): a row for each number of each row of the window."""

    def branches(self, values: Sequence[Value]) -> Iterable[str]:
        """One for all numbers, and one for each other value."""
        numbers = [one for one in values if one.form in ("number", "time")]
        if numbers:
            # Numbers without edges have no outermost cell.
            tails = self.tails("last > 0 AND (cell = 0 OR cell = last)")
            coded = self.coded(numbers)
            yield f"SELECT feature, cell, COUNT(*) AS n, {tails} FROM ({coded}) AS coded GROUP BY feature, cell"
        yield from super().branches([one for one in values if one not in numbers])

    def coded(self, values: Sequence[Value]) -> str:
        """SELECT of (feature, v, cell, last)."""
        cells = self.by_feature(values, self.code)
        lasts = self.by_feature(values, lambda one: str(len(one.cells.edges) if one.cells.ordered else 0))
        return f"SELECT feature, v, {cells} AS cell, {lasts} AS last FROM ({self.exploded(values)}) AS one"

    def by_feature(self, values: Sequence[Value], sql: Callable[[Value], str]) -> str:
        """What each feature has of its own."""
        return f"CASE feature {' '.join(f'WHEN {one.place} THEN {sql(one)}' for one in values)} END"


def outside(value: Value) -> str:
    """The condition for the outermost cells; "" where there are none."""
    return f"cell IN (0, {len(value.cells.edges)})" if value.cells.ordered and len(value.cells.edges) else ""


def above(cells: Cells) -> list[float]:
    """The edges' upper neighbours: what is at or above one of them is above the edge.

    Engines that look a value up in a list of inclusive lower bounds find its cell that way.
    """
    found: list[float] = np.nextafter(cells.edges, np.inf).tolist()
    return found


def listed(numbers: Iterable[float]) -> str:
    """Numbers as text that is read back to the same bits.

    >>> listed([0.1, 5e-324, float("inf")])
    '0.1,5e-324,Infinity'
    """
    return ",".join("Infinity" if one == np.inf else repr(float(one)) for one in numbers)


def counts_of(values: Sequence[Value], rows: Iterable[Sequence[Any]]) -> dict[str, Counts]:
    """What the queries answered as counts by feature."""
    vectors = {one.place: np.zeros(one.cells.width, np.int64) for one in values}
    tails: dict[int, list[list[float]]] = {one.place: [] for one in values}
    sizes = {one.place: one.cells.size for one in values}
    for feature, cell, number, total, least, greatest in rows:
        place, cell = int(feature), int(cell)  # noqa: PLW2901
        vectors[place][cell if cell >= 0 else sizes[place] - 1 - cell] += int(number)
        if total is not None:
            nothing = [0.0, np.inf, -np.inf]
            beyond = [float(total) * SCALE, float(least), float(greatest)]
            tails[place].append(beyond + nothing if cell == 0 else nothing + beyond)
    return {
        one.feature: Counts(vectors[one.place], joined_tails(np.array(tails[one.place], np.float64))) for one in values
    }


def _batches(values: Sequence[Value], most: int, most_characters: int) -> list[list[Value]]:
    batches: list[list[Value]] = []
    size = 0
    for value in values:
        own = 28 * len(value.cells.edges) + sum(2 * len(one) + 20 for one in value.cells.categories)
        if not batches or len(batches[-1]) == most or size + own > most_characters:
            batches.append([])
            size = 0
        batches[-1].append(value)
        size += own
    return batches
