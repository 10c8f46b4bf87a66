"""`IbisCounter`: a window of any table counted by the engine that has it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mainspring.adapters.ibis.bigquery import BigQuery
from mainspring.adapters.ibis.dialect import Dialect, Query, counts_of
from mainspring.adapters.ibis.duckdb import DuckDb
from mainspring.adapters.ibis.engine import connected, spoken, table_of
from mainspring.adapters.ibis.postgres import Postgres
from mainspring.adapters.ibis.spark import Spark
from mainspring.adapters.ibis.values import Value, values_of, window_of
from mainspring.adapters.sql.source import masked
from mainspring.domain.time import TimeWindow
from mainspring.drift.cells import Cells, Counts

_DIALECTS: Mapping[str, Dialect] = {
    "duckdb": DuckDb(),
    "postgres": Postgres(),
    "pyspark": Spark(),
    "bigquery": BigQuery(),
}


class IbisCounter:
    """`WindowCounter` on a table of DuckDB, PostgreSQL, Spark or BigQuery. Only counts come back.

    `columns` are those of the table that are not named as their feature; of the features `as_text` whole numbers and truths
    are categories, as they were in training. Nothing is written, and no connection is held between two calls.
    """

    def __init__(
        self,
        url: str,
        table: str,
        *,
        time: str = "",
        columns: Mapping[str, str] | None = None,
        as_text: Collection[str] = (),
        root: Path = Path(),
    ) -> None:
        self._url = url
        self._table = table
        self._time = time
        self._columns = dict(columns or {})
        self._as_text = frozenset(as_text)
        self._root = root

    @property
    def uri(self) -> str:
        """The URL with its password masked, and the table. What follows `?` or `;` may be a secret as well."""
        return f"{masked(re.split('[?;]', self._url)[0])}#{self._table}"

    def columns(self) -> tuple[str, ...]:
        """The table's columns."""
        with connected(self._url, self._root, self.uri) as backend, spoken(self.uri):
            return tuple(table_of(backend, self._table, self.uri).columns)

    def dated(self) -> bool:
        """Whether the event time is a date to the engine."""
        with connected(self._url, self._root, self.uri) as backend, spoken(self.uri):
            kind = table_of(backend, self._table, self.uri).schema().get(self._time)
            return kind is not None and bool(kind.is_date())

    def count(self, cells: Mapping[str, Cells], window: TimeWindow | None = None) -> Mapping[str, Counts]:
        """Counts of each feature that `cells` names.

        Errors: `ConfigError`, `DataError` and `TemporaryError`, as `engine.connected` and `values` say them.
        """
        if not cells:
            return {}
        with connected(self._url, self._root, self.uri) as backend, spoken(self.uri):
            table = table_of(backend, self._table, self.uri)
            values = values_of(cells, table, self._columns, self._as_text, self.uri)

            def rows(some: Sequence[Value]) -> str:
                return str(backend.compile(window_of(some, table, self._columns, self._time, window, self.uri)))

            queries = _DIALECTS[backend.name].queries(values, rows)
            return counts_of(values, (row for query in queries for row in _answer(backend, query)))


def _answer(backend: Any, query: Query) -> Iterator[Sequence[Any]]:
    if backend.name == "duckdb":
        yield from backend.con.execute(query.sql).fetchall()
    elif backend.name == "postgres":
        with backend.con.transaction(), backend.con.cursor() as cursor:
            yield from cursor.execute(query.sql).fetchall()
    elif backend.name == "pyspark":
        yield from _by_row(backend.raw_sql(query.sql).toArrow())
    else:
        yield from (row.values() for row in _bigquery(backend, query))


def _bigquery(backend: Any, query: Query) -> Iterable[Any]:
    from google.cloud.bigquery import ArrayQueryParameter, QueryJobConfig

    parameters = [
        ArrayQueryParameter(name, "STRING" if name.startswith("categories") else "FLOAT64", list(values))
        for name, values in query.parameters.items()
    ]
    rows: Iterable[Any] = backend.raw_sql(query.sql, query_job_config=QueryJobConfig(query_parameters=parameters))
    return rows


def _by_row(table: Any) -> Iterator[Sequence[Any]]:
    yield from zip(*(column.to_pylist() for column in table.columns), strict=True)
