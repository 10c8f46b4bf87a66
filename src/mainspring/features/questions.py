"""The spine: questions that could have been asked, with their answers as far as they are known.

One row is one question: `event_timestamp`, the request's columns, the entity keys, `request_id` where the project has
ids, `label` (null: not known yet, or never), `label_known_at`, and `label_weight` where the project has weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.time import TimeWindow
from mainspring.ports import Source
from mainspring.settings.project import ProjectSettings

EVENT_TIME = "event_timestamp"
REQUEST_ID = "request_id"
LABEL = "label"
LABEL_KNOWN_AT = "label_known_at"
LABEL_WEIGHT = "label_weight"
RESERVED = (EVENT_TIME, REQUEST_ID, LABEL, LABEL_KNOWN_AT, LABEL_WEIGHT)
"""Columns of the spine that are the platform's; an input cannot have their names."""
_UTC = pa.timestamp("us", "UTC")


def questions(
    settings: ProjectSettings,
    source: Source,
    entities: Sequence[str],
    *,
    known_at: datetime,
    window: TimeWindow | None = None,
    limit: int | None = None,
    carry: bool = False,
) -> pa.Table:
    """Questions asked by `known_at`, oldest first; a label that was not known by then is null.

    `entities` are the join keys of the feature views. A question lies in `window` by its own time. With `carry` columns
    that have no role come along: expectations and slices may be about them, and an older model may take them.
    """
    target = settings.target
    rows = source.read(known_at=known_at, limit=limit)
    _present(settings, rows, entities)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    time = settings.question_time
    rows = _with_times(settings, rows)
    known = _known_at(settings, rows, time)
    if time is not None:
        asked = pc.less_equal(rows.column(time), pa.scalar(known_at, _UTC))
        if window is not None:
            asked = pc.and_(asked, _between(rows.column(time), window))
        rows, known = rows.filter(asked), known.filter(asked)
        columns[EVENT_TIME] = rows.column(time)
    if target.id is not None:
        _identified(rows.column(target.id), target.id, target.source)
        columns[REQUEST_ID] = rows.column(target.id).cast(pa.string())
    label = rows.column(target.column)
    settled = pc.fill_null(pc.less_equal(known, pa.scalar(known_at, _UTC)), False)
    columns[LABEL] = pc.if_else(settled, label, pa.scalar(None, label.type))
    columns[LABEL_KNOWN_AT] = known
    if target.weight is not None:
        columns[LABEL_WEIGHT] = _weights(rows.column(target.weight), target.weight, target.source)
    for key in entities:
        columns[key] = rows.column(settings.features.entities.get(key, key))
    for name in request_columns(settings, rows.column_names):
        columns[name] = rows.column(name)
    if carry:
        roles = _roles(settings)
        columns |= {name: rows.column(name) for name in rows.column_names if name not in roles | columns.keys()}
    table = pa.table(columns)
    return table.sort_by([(EVENT_TIME, "ascending")]) if time is not None else table


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Of the questions asked: how many have their label, how many still wait for it, how many will never get one."""

    asked: int
    labelled: int
    waiting: int
    never: int


def labelled(asked: pa.Table, known_at: datetime) -> tuple[pa.Table, LabelCounts]:
    """The questions that have their label by `known_at`, and the counts of all.

    A question waits while `label_known_at` lies ahead; without a label and without such an instant, or with one that
    has passed, it never gets one (a flight that was cancelled).
    """
    has = pc.is_valid(asked.column(LABEL))
    ahead = pc.fill_null(pc.greater(asked.column(LABEL_KNOWN_AT), pa.scalar(known_at, _UTC)), False)
    waiting = pc.sum(pc.and_(pc.invert(has), ahead)).as_py() or 0
    rows = asked.filter(has)
    return rows, LabelCounts(asked.num_rows, rows.num_rows, waiting, asked.num_rows - rows.num_rows - waiting)


def first_asked(settings: ProjectSettings, source: Source) -> datetime | None:
    """The instant of the first question there is; None without questions, or where they have no time."""
    time = settings.question_time
    if time is None:
        return None
    rows = source.read(known_at=datetime.max)
    _present(settings, rows, ())
    first: datetime | None = pc.min(_with_times(settings, rows).column(time)).as_py()
    return first


def request_columns(settings: ProjectSettings, present: Sequence[str]) -> list[str]:
    """The columns that a caller sends: those that the project lists, else every one without another role."""
    if settings.features.request is not None:
        return list(settings.features.request)
    roles = _roles(settings)
    return [name for name in present if name not in roles]


def _roles(settings: ProjectSettings) -> set[str | None]:
    target, source = settings.target, settings.sources[settings.target.source]
    roles = {target.column, target.id, target.available_at, target.weight}
    return roles | {settings.question_time, source.time, source.available_at}


def _present(settings: ProjectSettings, rows: pa.Table, entities: Sequence[str]) -> None:
    target = settings.target
    needed = {
        "target.column": target.column,
        "target.id": target.id,
        "target.time": target.time,
        "target.available_at": target.available_at,
        "target.weight": target.weight,
        **{f"features.request: {name}": name for name in settings.features.request or ()},
        **{f"features.entities.{key}": settings.features.entities.get(key, key) for key in entities},
    }
    missing = [f"{key} ({name})" for key, name in needed.items() if name is not None and name not in rows.column_names]
    if missing:
        raise ConfigError(
            f"source {target.source!r} has no column for {', '.join(missing)}",
            where="mainspring.yaml",
            valid=", ".join(rows.column_names),
        )
    taken = [name for name in request_columns(settings, rows.column_names) if name in RESERVED]
    if taken:
        raise ConfigError(
            f"`{taken[0]}` is a name of the platform's own, and cannot be an input",
            where=f"sources.{target.source}",
            valid=f"any name but {', '.join(RESERVED)}",
            next_step="rename the column in the source, or list the other inputs in `features.request`",
        )
    if target.column in (settings.features.request or ()):
        raise ConfigError(
            f"the target {target.column!r} is among the inputs", where="mainspring.yaml: features.request"
        )


def _with_times(settings: ProjectSettings, rows: pa.Table) -> pa.Table:
    """The rows with the question's and the label's times as instants."""
    target = settings.target
    for key, name in (("time", settings.question_time), ("available_at", target.available_at)):
        if name is None:
            continue
        where = f"sources.{target.source}: {name}"
        found = instants(rows, name, target.source, where)
        missing = rows.column(name).null_count
        if missing and key == "time":
            # Without its instant a question has no place in history, and no features.
            raise DataError(f"{missing:,} questions have no time", where=where, next_step="remove or mend these rows")
        rows = rows.set_column(rows.column_names.index(name), name, found)
    return rows


def instants(rows: pa.Table, name: str, source: str, where: str) -> pa.ChunkedArray:
    """A source's column of times as instants. Errors: `DataError` when it is none."""
    kind = rows.schema.field(name).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise DataError(
            f"`{name}` is not a time, it is {kind}",
            where=where,
            valid="timestamps, or text in ISO 8601",
            next_step=f"write `columns: {{{name}: time}}` at sources.{source} in mainspring.yaml",
        )
    return rows.column(name).cast(_UTC)


def _known_at(settings: ProjectSettings, rows: pa.Table, time: str | None) -> pa.ChunkedArray:
    target = settings.target
    if target.available_at is not None:
        return rows.column(target.available_at)
    if time is None:
        epoch = pa.scalar(datetime(1970, 1, 1), _UTC)
        return pa.chunked_array([pa.repeat(epoch, rows.num_rows)])
    delay = pa.scalar(int(target.delay.total_seconds() * 1e6), pa.duration("us"))
    return pc.add(rows.column(time), delay)


def _weights(column: pa.ChunkedArray, name: str, source: str) -> pa.ChunkedArray:
    where = f"sources.{source}: {name}"
    try:
        weights = column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"weights are numbers, `{name}` is {column.type}", where=where) from error
    wrong = pc.sum(pc.invert(pc.fill_null(pc.and_(pc.greater_equal(weights, 0), pc.is_finite(weights)), False))).as_py()
    if wrong:
        raise DataError(f"{wrong:,} rows have no weight, or one that is below 0", where=where, valid="0 and above")
    return weights


def _between(column: pa.ChunkedArray, window: TimeWindow) -> pa.ChunkedArray:
    kind = _UTC
    return pc.and_(
        pc.greater_equal(column, pa.scalar(window.start, kind)), pc.less(column, pa.scalar(window.end, kind))
    )


def _identified(ids: pa.ChunkedArray, column: str, source: str) -> None:
    where = f"sources.{source}: {column}"
    if ids.null_count:
        raise DataError(
            f"{ids.null_count:,} questions have no id", where=where, next_step="remove these rows, or `target.id`"
        )
    counts = pc.value_counts(ids.combine_chunks())
    doubled = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(doubled):
        examples = ", ".join(str(one["values"]) for one in doubled.slice(0, 5).to_pylist())
        raise DataError(
            f"{len(doubled):,} ids are there more than once ({examples})",
            where=where,
            valid="one row for each id: predictions meet their labels by it",
            next_step="remove the doubles, or name another column in `target.id`",
        )
