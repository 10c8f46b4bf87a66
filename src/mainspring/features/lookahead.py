"""Transforms may not look ahead: a tick's rows are the same whatever became known after it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mainspring.domain.errors import DataError
from mainspring.domain.time import utc
from mainspring.features.questions import EVENT_TIME
from mainspring.features.transforms import TransformSession

_RELATIVE = 1e-9
"""Sums are taken in another order over another number of rows."""


def assert_no_lookahead(session: TransformSession, view: str, ticks: Sequence[datetime], *, sample: int = 3) -> None:
    """Compute `ticks` at once, and some of them again from nothing but what was known then; both must agree.

    A `DataError` names the view, the tick and the first value that differs. Slow (each sampled tick gets the sources
    anew): for a check of the project and for tests.
    """
    together = session.compute(view, ticks)
    for tick in _chosen(ticks, sample):
        _same(view, tick, together, session.as_of(tick).compute(view, [tick]))


def assert_alone_as_together(
    session: TransformSession, view: str, ticks: Sequence[datetime], together: pa.Table
) -> None:
    """The first and another of `ticks`, each computed alone, have the rows that they have in `together`.

    Cheap enough for every batch: the sources stay loaded, and the session shows them up to the one tick.
    """
    for tick in _chosen(ticks[:-1], 2):
        _same(view, tick, together, session.compute(view, [tick], refresh=False))


def _chosen(ticks: Sequence[datetime], sample: int) -> list[datetime]:
    """The first tick, which has most future rows behind it, and others that are the same each time."""
    rest = random.Random(len(ticks)).sample(list(ticks[1:]), min(sample - 1, len(ticks) - 1))  # noqa: S311
    return [*ticks[:1], *sorted(rest)]


def _same(view: str, tick: datetime, together: pa.Table, alone: pa.Table) -> None:
    instant = pa.scalar(utc(tick), pa.timestamp("us", "UTC"))
    together = together.filter(pc.equal(together.column(EVENT_TIME), instant))
    names = together.column_names
    left, right = _sorted(together), _sorted(alone.select(names))
    differing = next((name for name in names if not _equal(left[name], right[name])), None)
    if differing is None:
        return
    seen, known = left[differing], right[differing]
    if len(seen) != len(known):
        seen, known = [f"in {len(seen)} rows"], [f"in {len(known)} rows"]
    pair = next((one, other) for one, other in zip(seen, known, strict=True) if not _close(one, other))
    raise DataError(
        f"transform {view!r} looks ahead: at {tick.isoformat()} `{differing}` is {pair[0]!r} when later rows are there, "
        f"and {pair[1]!r} when they are not",
        where=f"transforms.py: {view}",
        valid="only rows with `_available_at <= tick`, and nothing that changes by itself (now(), random())",
        next_step="correct the function, then mainspring data --out training.parquet",
    )


def _sorted(table: pa.Table) -> dict[str, list[Any]]:
    # Keys (texts and whole numbers) before features, so that rounding cannot change the order.
    exact = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    rest = [name for name in table.column_names if name not in exact]
    rows = table.sort_by([(name, "ascending") for name in [*exact, *rest]]) if table.column_names else table
    columns: dict[str, list[Any]] = rows.to_pydict()
    return columns


def _equal(left: list[Any], right: list[Any]) -> bool:
    return len(left) == len(right) and all(map(_close, left, right))


def _close(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or math.isclose(left, right, rel_tol=_RELATIVE, abs_tol=1e-12)
    return bool(left == right)
