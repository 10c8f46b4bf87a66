"""Running the transforms that are due: which ticks, in which order, and what is remembered of it.

A view's newest computed tick is written down after its rows were appended. A process that is killed in between computes
them again, and appending the same rows again changes nothing. What a view was computed by is remembered as well: when
the project's transforms or sources are declared anew, its rows are computed anew from the start.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from mainspring.features.lookahead import assert_alone_as_together
from mainspring.features.transforms import TransformSession
from mainspring.settings.project import ProjectSettings

_TICKS_AT_ONCE = 1_000
"""A year of six-hourly ticks is two batches; what one holds in memory stays small."""


class ViewRows(Protocol):
    """Where a view's rows go; `FeastFeatureStore` is one."""

    def append(self, view: str, rows: pa.Table) -> int:
        """Append rows, each once; how many were new."""
        ...

    def clear(self, view: str) -> None:
        """Forget all of a view's rows."""
        ...


def run_transforms(
    session: TransformSession,
    rows: ViewRows,
    remembered: Path,
    until: datetime,
    *,
    start: Callable[[], datetime | None],
) -> dict[str, int]:
    """Compute the ticks that are due by `until` and append their rows; new rows by view.

    `remembered` is the file that keeps each view's newest computed tick. `start` gives the instant from which a view
    that was never computed begins (None: there is no data yet); it is asked only then.
    """
    state = json.loads(remembered.read_text()) if remembered.exists() else {}
    written = dict.fromkeys(session.views, 0)
    loaded = False
    start = functools.cache(start)  # it may read a whole source, and is the same for every view
    for view in session.views:
        definition = session.definition(view)
        before = state.get(view)
        if before is not None and before["definition"] != definition:
            rows.clear(view)
            before = None
        after = datetime.fromisoformat(before["until"]) if before is not None else None
        first = start() if after is None else None
        if after is None and first is None:
            continue
        ticks = session.due(view, after, until, start=first or until)
        for place in range(0, len(ticks), _TICKS_AT_ONCE):
            some = ticks[place : place + _TICKS_AT_ONCE]
            computed = session.compute(view, some, refresh=not loaded)
            loaded = True
            if len(some) > 1:
                assert_alone_as_together(session, view, some, computed)
            written[view] += rows.append(view, computed)
            state[view] = {"until": some[-1].isoformat(), "definition": definition}
            _write(remembered, state)
    return written


def first_tick(settings: ProjectSettings, session: TransformSession, first_question: datetime) -> datetime:
    """Where a view begins: `backfill` before the first question, yet not before any source knew anything."""
    schedules = settings.features.transforms.values()
    backfill, every = max(one.backfill for one in schedules), max(one.every for one in schedules)
    earliest = session.earliest()
    # One schedule earlier, so that the first question finds a row.
    start = min(first_question, earliest or first_question) - every
    return max(start, first_question - max(backfill, every))


def _write(path: Path, state: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(state, indent=1))
    part.replace(path)
