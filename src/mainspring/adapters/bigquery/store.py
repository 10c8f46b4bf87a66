"""`BigQueryHours`: a sink that is one table of BigQuery, partitioned by the hour of `event_at`.

An hour is loaded into a table of its own, named after its contents, and takes the old one's place by one MERGE, which BigQuery
does whole or not at all. Earlier such tables of the hour are deleted before: a MERGE that was given up finds nothing any more.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mainspring.adapters.bigquery.rest import BigQueryRest, columns_in, text
from mainspring.adapters.sinks.hours import HeldHour, Receipt
from mainspring.domain.errors import NotFound
from mainspring.domain.time import TimeWindow

if TYPE_CHECKING:
    import pyarrow as pa

    from mainspring.settings.log_sink import SinkSettings

WRITER, LOAD = "_writer", "_load"
_FIXED = ("request_id", "event_at")
_TYPES = {"STRING": "text", "FLOAT": "number", "FLOAT64": "number", "TIMESTAMP": "time"}


class BigQueryHours:
    """`HourStore` on a table. A column has the log's own name as its description: BigQuery allows less in a name."""

    def __init__(self, settings: SinkSettings) -> None:
        self._rest = BigQueryRest(settings)
        parts = settings.parts
        self._dataset, self._table = parts["dataset"], parts["table"]
        self._name = f"`{parts['project']}.{self._dataset}.{self._table}`"

    def hours(self, window: TimeWindow | None = None) -> Sequence[HeldHour]:
        """Those that have rows."""
        if self._fields() is None:
            return []
        inside = f"WHERE {_within(window)}" if window is not None else ""
        _, rows = self._rest.rows(
            f"SELECT TIMESTAMP_TRUNC(event_at, HOUR) AS hour, {WRITER} FROM {self._name} {inside} GROUP BY 1, 2 ORDER BY 1, 2"
        )
        return [HeldHour(_at(hour), writer) for hour, writer in rows]

    def put(self, hour: HeldHour, table: pa.Table, digest: str) -> None:
        """Load, then replace."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = table.select([field.name for field in table.schema if not pa.types.is_null(field.type)])
        fields = self._with_columns(table.schema)
        names = [_column(fields, field.name, _kind(field.type)) for field in table.schema]
        rows = table.rename_columns(names).replace_schema_metadata(None)
        for name, value in ((WRITER, hour.writer), (LOAD, digest)):
            rows = rows.append_column(name, pa.array([value] * rows.num_rows, pa.string()))
        buffer = pa.BufferOutputStream()
        pq.write_table(rows, buffer, compression="zstd")
        begin = f"{self._table}_load_{hour.writer}_{hour.at:%Y%m%d%H}_"
        staged = f"{begin}{digest[:16]}"
        self._drop([one for one in self._staged(begin) if one != staged])
        by_name = {one["name"]: one for one in fields}
        used = [by_name[name] for name in rows.column_names]
        self._rest.load(
            buffer.getvalue().to_pybytes(),
            {
                "destinationTable": self._reference(staged),
                "sourceFormat": "PARQUET",
                "writeDisposition": "WRITE_TRUNCATE",
                "createDisposition": "CREATE_IF_NEEDED",
                "schema": {"fields": used},
                "parquetOptions": {"enableListInference": True},
            },
        )
        listed = columns_in([*names, WRITER, LOAD])
        source = f"`{self._rest.project}.{self._dataset}.{staged}`"
        self._rest.run(
            f"MERGE {self._name} T USING {source} S ON FALSE "
            f"WHEN NOT MATCHED BY TARGET THEN INSERT ({listed}) VALUES ({listed}) "
            f"WHEN NOT MATCHED BY SOURCE AND {self._own(hour, 'T.')} THEN DELETE"
        )
        self._drop([staged])

    def look(self, hour: HeldHour) -> Receipt | None:
        """Rows, and the digest that all of them were loaded with."""
        if self._fields() is None:
            return None
        _, ((rows, loads, load),) = self._rest.rows(
            f"SELECT COUNT(*) AS n, COUNT(DISTINCT {LOAD}) AS loads, MAX({LOAD}) AS load FROM {self._name} WHERE {self._own(hour)}"
        )
        if int(rows) == 0:
            return None
        return Receipt(int(rows), load if int(loads) == 1 else "of several loads")

    def get(self, hour: HeldHour, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The hour's rows under the log's own names; a column whose type changed as text."""
        import pyarrow as pa

        fields = [one for one in self._fields() or () if one["name"] not in (WRITER, LOAD)]
        wanted = [one for one in fields if columns is None or _own_name(one) in {*columns, *_FIXED}]
        if not wanted:
            return None
        selected = columns_in([one["name"] for one in wanted])
        found, rows = self._rest.rows(f"SELECT {selected} FROM {self._name} WHERE {self._own(hour)}")
        if not rows:
            return None
        by_name: dict[str, list[Any]] = {}
        for place, (field, kind) in enumerate(zip(wanted, found, strict=True)):
            column = _arrow([row[place] for row in rows], kind)
            # A column that no row of this hour has is one of other hours.
            if column.null_count < len(column) or _own_name(field) in _FIXED:
                by_name.setdefault(_own_name(field), []).append(column)
        table = pa.table({name: _one(several) for name, several in by_name.items()})
        return table if columns is None else table.select([name for name in columns if name in table.column_names])

    def remove(self, hour: HeldHour) -> None:
        """Delete the hour's rows."""
        if self._fields() is not None:
            self._rest.run(f"DELETE FROM {self._name} WHERE {self._own(hour)}")

    def try_out(self) -> str:
        """A table of its own, made and deleted, and a query."""
        self._rest.ask("GET", f"/datasets/{self._dataset}")
        name = f"{self._table}_trial"
        self._drop([name])
        body = {"tableReference": self._reference(name), "schema": {"fields": [_field("a", "STRING")]}}
        self._rest.ask("POST", f"/datasets/{self._dataset}/tables", body=body)
        self._rest.rows("SELECT 1 AS one")
        self._drop([name])
        return "written, asked and deleted"

    def _with_columns(self, schema: pa.Schema) -> list[dict[str, Any]]:
        """The table's fields, with those that these rows need; made or added where they are not there."""
        fields = self._fields()
        there = [] if fields is None else list(fields)
        for field in schema:
            kind = _kind(field.type)
            if _column(there, field.name, kind):
                continue
            base = re.sub(r"\W", "_", field.name, flags=re.ASCII)
            taken = {one["name"].lower() for one in there}
            names = [base, f"{base}_as_{kind}", *(f"{base}_{number}" for number in range(2, 100))]
            name = next(one for one in names if one.lower() not in taken)
            there.append(_field(name, *_bigquery(field.type), described=field.name))
        tables = f"/datasets/{self._dataset}/tables"
        if fields is None:
            there += [_field(name, "STRING", described=name) for name in (WRITER, LOAD)]
            body = {
                "tableReference": self._reference(self._table),
                "schema": {"fields": there},
                "timePartitioning": {"type": "HOUR", "field": "event_at"},
            }
            self._rest.ask("POST", tables, body=body)
        for one in there[len(fields or there) :]:
            kind = f"ARRAY<{one['type']}>" if one["mode"] == "REPEATED" else one["type"]
            options = f"OPTIONS(description = {text(one['description'])})"
            self._rest.run(f"ALTER TABLE {self._name} ADD COLUMN IF NOT EXISTS `{one['name']}` {kind} {options}")
        now = [] if fields is None or len(there) == len(fields) else self._fields() or []
        if now and {_own_name(one) for one in now} != {_own_name(one) for one in there}:
            # Not every table takes a description with its column.
            self._rest.ask("PATCH", f"{tables}/{self._table}", body={"schema": {"fields": there}})
        return there

    def _fields(self) -> list[dict[str, Any]] | None:
        """The table's fields, None when there is no table."""
        try:
            found = self._rest.ask("GET", f"/datasets/{self._dataset}/tables/{self._table}")
        except NotFound:
            self._rest.ask("GET", f"/datasets/{self._dataset}")  # without a data set nothing goes
            return None
        fields: list[dict[str, Any]] = found["schema"]["fields"]
        return fields

    def _staged(self, begin: str) -> list[str]:
        names, token = [], ""
        while True:
            query = {"maxResults": "1000", **({"pageToken": token} if token else {})}
            found = self._rest.ask("GET", f"/datasets/{self._dataset}/tables", query=query)
            names += [one["tableReference"]["tableId"] for one in found.get("tables", ())]
            token = found.get("nextPageToken", "")
            if not token:
                return [one for one in names if one.startswith(begin)]

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(NotFound):
                self._rest.ask("DELETE", f"/datasets/{self._dataset}/tables/{name}")

    def _reference(self, table: str) -> dict[str, str]:
        return {"projectId": self._rest.project, "datasetId": self._dataset, "tableId": table}

    def _own(self, hour: HeldHour, of: str = "") -> str:
        return f"{_within(hour.window, of)} AND {of}{WRITER} = {text(hour.writer)}"


def _within(window: TimeWindow, of: str = "") -> str:
    first = max(window.start, datetime(1, 1, 2, tzinfo=UTC))
    return f"{of}event_at >= TIMESTAMP '{_sql(first)}' AND {of}event_at < TIMESTAMP '{_sql(window.end)}'"


def _sql(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00").rjust(29, "0")


def _field(name: str, kind: str, mode: str = "NULLABLE", described: str = "") -> dict[str, Any]:
    return {"name": name, "type": kind, "mode": mode, "description": described}


def _bigquery(kind: Any) -> tuple[str, str]:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return _bigquery(kind.value_type)[0], "REPEATED"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP", "NULLABLE"
    return ("FLOAT64" if pa.types.is_floating(kind) else "STRING"), "NULLABLE"


def _kind(arrow: Any) -> str:
    kind, mode = _bigquery(arrow)
    return _TYPES[kind] + ("s" if mode == "REPEATED" else "")


def _kind_of(field: dict[str, Any]) -> str:
    return _TYPES.get(field["type"], "text") + ("s" if field.get("mode") == "REPEATED" else "")


def _own_name(field: dict[str, Any]) -> str:
    return field.get("description") or str(field["name"])


def _column(fields: Sequence[dict[str, Any]], name: str, kind: str) -> str:
    """The table's column for the log's; "" when there is none of that type yet."""
    return next((str(one["name"]) for one in fields if _own_name(one) == name and _kind_of(one) == kind), "")


def _arrow(values: list[Any], field: dict[str, Any]) -> Any:
    import pyarrow as pa

    kind = _kind_of(field)
    if kind == "time":
        return pa.array([None if one is None else int(one) for one in values], pa.timestamp("us", "UTC"))
    if kind == "number":
        return pa.array([None if one is None else float(one) for one in values], pa.float64())
    if kind == "numbers":
        return pa.array([[float(one["v"]) for one in several] for several in values], pa.list_(pa.float64()))
    if kind == "texts":
        return pa.array([[one["v"] for one in several] for several in values], pa.list_(pa.string()))
    return pa.array(values, pa.string())


def _one(several: list[Any]) -> Any:
    """One column of those that a type that changed made."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(several) == 1:
        return several[0]
    return pc.coalesce(*(one.cast(pa.string()) for one in several))


def _at(microseconds: str) -> datetime:
    return datetime.fromtimestamp(int(microseconds) / 1_000_000, UTC)
