"""Tables behind a SQL URL as a `Source`, through Ibis: whatever engine Ibis speaks to, what is asked for is asked there.

The instants of `known_at` and of the window are pushed down, wherever the engine knows the column as a time. Rows come
back as Arrow, sorted by event time and then by every column, because a table has no order of its own and the digest
and the training depend on one.
"""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from mainspring.domain.errors import ConfigError, DataError, MainspringError, NotFound, TemporaryError
from mainspring.domain.time import TimeWindow, utc
from mainspring.settings.project import SourceSettings
from mainspring.sources.check import ROW, declared_types, quoted, require, typed
from mainspring.sources.files import connect, select

_PASSWORD = re.compile(r"(://[^:/@]*:).*@")
FILE_SCHEMES = {"sqlite", "duckdb"}


class SqlSource:
    """Rows of a table or of a SELECT, as they were known at an instant.

    `sqlite:///x.db` and `duckdb:///x.db` are relative to the project's folder `root`, with four slashes absolute. They
    are opened for reading only. A new connection is made for each read: none is held while nothing is read.
    """

    def __init__(self, name: str, settings: SourceSettings, root: Path) -> None:
        self.name = name
        self.settings = settings
        self._root = root

    @property
    def uri(self) -> str:
        """The URL with its password masked, and the table."""
        return f"{masked(str(self.settings.url))}#{self.settings.table or 'query'}"

    def read(self, *, known_at: datetime, window: TimeWindow | None = None, limit: int | None = None) -> pa.Table:
        """Rows available at `known_at`, sorted, checked against the declaration."""
        with connect() as db:
            rows = self._fetch(known_at, window, limit)
            return select(db, self._load(db, rows), self.settings, known_at, window, limit)

    def query(self, db: Any) -> str:
        """Load every row into `db`, check them, and return SQL for them with `_available_at`."""
        return self._load(db, self._fetch(None, None, None))

    def state(self) -> object:
        """A new object each time: a database does not say cheaply whether a row was changed."""
        return object()

    def _load(self, db: Any, rows: pa.Table) -> str:
        table, time = f"_rows_{self.name}", self.settings.time
        where = f"sources.{self.name}: {self.uri}"
        require(self.name, declared_types(self.settings), rows.column_names, where)
        first = [time] if time is not None else []
        order = ", ".join(quoted(name) for name in [*first, *(name for name in rows.column_names if name != time)])
        db.register("_fetched", rows)
        db.execute(
            f'CREATE OR REPLACE TABLE "{table}" AS SELECT *, row_number() OVER () AS "{ROW}" '
            f"FROM (SELECT * FROM _fetched ORDER BY {order})"
        )
        db.unregister("_fetched")
        return typed(db, self.name, self.settings, table=table, where=where)

    def _fetch(self, known_at: datetime | None, window: TimeWindow | None, limit: int | None) -> pa.Table:
        backend = self._connect()
        try:
            expression = self._expression(backend)
            require(self.name, declared_types(self.settings), expression.columns, f"sources.{self.name}: {self.uri}")
            # SQLite has no times, only texts and numbers of any form: there nothing can be asked by time.
            pushed = _pushed(expression, self.settings, known_at, window) if backend.name != "sqlite" else None
            if pushed is not None:
                expression = expression.filter(pushed) if pushed else expression
                if limit is not None:
                    time = self.settings.time
                    expression = (expression.order_by(time) if time else expression).limit(limit)
            return _rows(backend, expression)
        except MainspringError:
            raise
        except Exception as error:
            raise DataError(
                f"source {self.name!r} cannot be read: {masked(str(error))}", where=f"sources.{self.name}: {self.uri}"
            ) from error
        finally:
            backend.disconnect()

    def _expression(self, backend: Any) -> Any:
        if self.settings.query is not None:
            return described(backend, self.settings.query)
        schema, _, table = str(self.settings.table).rpartition(".")
        there = table_names(backend, schema or None)
        if table not in there:
            near = difflib.get_close_matches(table, there, n=1)
            raise DataError(
                f"source {self.name!r}: there is no table {self.settings.table!r}"
                + (f"; did you mean {near[0]!r}?" if near else ""),
                where=f"sources.{self.name}: {self.uri}",
                valid=", ".join(sorted(there)[:20]) or "the database has no tables",
            )
        if backend.name == "duckdb":
            return described(backend, f"SELECT * FROM {f'{quoted(schema)}.' if schema else ''}{quoted(table)}")
        return backend.table(table, database=schema or None)

    def _connect(self) -> Any:
        import ibis

        url = str(self.settings.url)
        scheme = url.partition("://")[0].lower()
        where = f"sources.{self.name}: {self.uri}"
        try:
            if scheme in FILE_SCHEMES:
                return open_file(scheme, self._root / unquote(urlsplit(url).path[1:]), where)
            return ibis.connect(url)
        except MainspringError:
            raise
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"source {self.name!r}: no driver for {scheme!r} ({masked(str(error))})",
                where=where,
                valid="sqlite, duckdb and postgres; others once their driver is installed",
                next_step=f"pip install 'ibis-framework[{scheme}]'",
            ) from error
        except Exception as error:
            raise TemporaryError(
                f"source {self.name!r}: the database did not answer: {masked(str(error)).strip()}",
                where=where,
                next_step="start it, or correct the URL, and try again",
            ) from error


def open_file(scheme: str, path: Path, where: str) -> Any:
    """An Ibis backend on a database file, for reading only. Errors: `NotFound`."""
    import ibis

    if not path.is_file():
        raise NotFound(f"there is no {scheme} database", where=f"{where} ({path})", next_step="correct the URL")
    if scheme == "duckdb":
        return ibis.duckdb.connect(str(path), read_only=True)
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    return ibis.sqlite.from_connection(connection)


def _pushed(
    expression: Any, settings: SourceSettings, known_at: datetime | None, window: TimeWindow | None
) -> list[Any] | None:
    """Conditions on time for the engine; None where it does not know a column as a time and so cannot judge."""
    import ibis

    schema, conditions = expression.schema(), []

    def instant(column: str) -> Any:
        kind = schema[column]
        if not (kind.is_timestamp() or kind.is_date()):
            return None
        return expression[column] if kind.is_timestamp() else expression[column].cast("timestamp")

    def at(column: str, moment: datetime) -> Any:
        zoned = schema[column].is_timestamp() and schema[column].timezone is not None
        return ibis.literal(utc(moment) if zoned else utc(moment).replace(tzinfo=None))

    needed = [name for name in (settings.time, settings.available_at) if name is not None]
    times = {name: instant(name) for name in needed}
    if any(one is None for one in times.values()):
        return None
    # A row without an event time is fetched as well: it is refused, not left out.
    time, available_at = settings.time, settings.available_at
    if known_at is not None and available_at is not None:
        conditions.append(times[available_at] <= at(available_at, known_at))
    elif known_at is not None and time is not None:
        conditions.append((times[time] <= at(time, known_at - settings.delay)) | times[time].isnull())
    if window is not None and time is not None:
        inside = (times[time] >= at(time, window.start)) & (times[time] < at(time, window.end))
        conditions.append(inside | times[time].isnull())
    return conditions


# Ibis 12 fetches DuckDB's descriptions by a method that DuckDB 2 no longer has, and describes a PostgreSQL query by a
# temporary view that it cannot drop. So the engine itself describes its tables and queries here, without writing
# anything; Ibis writes the SQL.
def described(backend: Any, query: str) -> Any:
    """A SELECT as an Ibis table."""
    query = query.strip().rstrip(";")
    if backend.name == "duckdb":
        columns = [row[:2] for row in backend.con.execute(f"DESCRIBE {query}").fetchall()]
    elif backend.name == "postgres":
        with backend.con.transaction(), backend.con.cursor() as cursor:
            described = cursor.execute(f"SELECT * FROM ({query}) AS described LIMIT 0").description
            columns = [(one.name, one.type_display) for one in described]
    else:
        return backend.sql(query)
    parse = backend.compiler.type_mapper.from_string
    return backend.sql(query, schema={name: parse(kind) for name, kind in columns})


def table_names(backend: Any, schema: str | None) -> list[str]:
    """Tables and views of a schema, of the default one without."""
    if backend.name != "duckdb":
        return list(backend.list_tables(database=schema))
    sql = "SELECT table_name FROM information_schema.tables WHERE table_schema = ?"
    return [name for (name,) in backend.con.execute(sql, [schema or "main"]).fetchall()]


def _rows(backend: Any, expression: Any) -> pa.Table:
    if backend.name != "sqlite":
        odd = [name for name, kind in expression.schema().items() if _is_odd(kind)]
        expression = expression.mutate(**{name: expression[name].cast("string") for name in odd}) if odd else expression
    if backend.name == "duckdb":
        return backend.con.sql(str(expression.compile())).to_arrow_table()
    if backend.name != "sqlite":
        return expression.to_pyarrow()
    # SQLite keeps what it was given, whatever the column's type: a column of mixed values comes as text, so that the
    # declaration is checked value by value.
    cursor = backend.raw_sql(expression.compile())
    names = [one[0] for one in cursor.description]
    values = list(zip(*cursor.fetchall(), strict=True)) or [() for _ in names]
    return pa.table({name: _column(column) for name, column in zip(names, values, strict=True)})


def _column(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _is_odd(kind: Any) -> bool:
    """A type that Arrow has no plain form of; its text is taken."""
    return bool(kind.is_uuid() or kind.is_json() or kind.is_inet() or kind.is_macaddr() or kind.is_unknown())


def masked(text: str) -> str:
    """A text with the passwords of its URLs masked."""
    return _PASSWORD.sub(r"\1********@", text)
