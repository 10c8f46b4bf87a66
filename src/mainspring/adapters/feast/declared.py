"""Rows that are appended to a view, held against what the view declares: columns, types, keys, one row each."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mainspring.adapters.feast.online import Timing, entity_keys
from mainspring.adapters.feast.types import known_type
from mainspring.domain.errors import DataError


def as_declared(view: Any, rows: pa.Table, timing: Timing) -> pa.Table:
    """The view's own columns in its own types; a `DataError` when a column is missing, a key null, or a row there twice."""
    kinds = {field.name: known_type(field.dtype) for field in view.schema}
    instants = [name for name in (timing.timestamp, timing.created, timing.available_at) if name]
    kinds |= dict.fromkeys(instants, pa.timestamp("us", "UTC"))
    wanted = [*instants, *entity_keys(view), *(field.name for field in view.features)]
    where = f"features.py: {view.name}"
    missing = [name for name in wanted if name not in rows.column_names]
    if missing:
        raise DataError(
            f"the rows of view {view.name!r} have no column {', '.join(missing)}",
            where=where,
            valid=", ".join(wanted),
            next_step=f"let transforms.py: {view.name} give it, or take it out of the view",
        )
    columns = {}
    for name in dict.fromkeys(wanted):
        kind = kinds.get(name)
        try:
            columns[name] = rows.column(name) if kind is None else rows.column(name).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(f"`{name}` of view {view.name!r} is not a {kind}: {error}", where=where) from error
    table = pa.table(columns)
    for name in [timing.timestamp, *entity_keys(view)]:
        if table.column(name).null_count:
            raise DataError(
                f"{table.column(name).null_count:,} rows of view {view.name!r} have no `{name}`",
                where=where,
                next_step=f"leave them out in transforms.py: {view.name}",
            )
    identity = [timing.timestamp, *entity_keys(view), *([timing.created] if timing.created else [])]
    counts = table.group_by(identity, use_threads=False).aggregate([([], "count_all")])
    if counts.num_rows != table.num_rows:
        doubled = counts.filter(pc.greater(counts.column("count_all"), 1)).drop_columns("count_all")
        raise DataError(
            f"{doubled.num_rows:,} rows of view {view.name!r} are there more than once, such as {doubled.to_pylist()[0]}",
            where=where,
            valid="one row for each event time and entity",
        )
    return table
