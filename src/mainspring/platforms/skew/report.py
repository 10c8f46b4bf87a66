"""`mainspring skew`: served requests replayed against the offline store, as of each request's event time, and the model run again.

Nothing is computed anew and nothing is written but the report's page: views are taken as they lie there.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from mainspring.adapters.mlflow.registry import MlflowRegistry
from mainspring.adapters.mlflow.tracking import Tracking
from mainspring.domain.errors import ConfigError, NotFound
from mainspring.domain.skew_report import SkewReport
from mainspring.domain.time import TimeWindow
from mainspring.features.skew_page import page
from mainspring.platforms.champion import champion
from mainspring.platforms.sink import WholeLog, whole_log
from mainspring.platforms.skew.replay import Replay
from mainspring.serving.runtime import load_card
from mainspring.settings.load import LoadedProject

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = 1e-6
"""Relative: ten times what a number loses on its way through 32 bits."""
SAMPLE = 10_000
_DAY = timedelta(days=1)


def skew_of(
    loaded: LoadedProject,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    sample: int = SAMPLE,
    version: str = "",
    tolerance: float = TOLERANCE,
) -> tuple[SkewReport, Path]:
    """The skew of a version, by default the champion, and the page that says it.

    Without `since` it is the day before `until`, and without that the day before the newest request. Requests are drawn by a hash
    of their ids: the same each time. Errors: `NotFound` where nothing was served.
    """
    wanted = version or champion(loaded)
    if not wanted:
        raise NotFound("there is no champion", next_step="mainspring up; or --version of one that was served")
    log = whole_log(loaded)
    window = _window(log, since, until)
    rows = _served(log.read(window), wanted)
    logged = rows.num_rows
    if not logged:
        raise NotFound(
            f"version {wanted} answered nothing from {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC",
            next_step="mainspring logs; mainspring skew --since T --until T",
        )
    rows = _drawn(rows, sample)
    registry = MlflowRegistry(loaded.settings.name, Tracking(loaded.settings, loaded.paths), loaded.paths.models)
    folder = registry.fetch(wanted)
    replay = Replay(loaded, load_card(folder), rows, tolerance)
    features = replay.features()
    answers = replay.answers(folder)  # Which adds on-demand features.
    report = SkewReport(wanted, window, logged, rows.num_rows, tolerance, tuple(features), answers, replay.not_compared)
    path = loaded.paths.state / "skew" / f"{wanted}-{window.end:%Y-%m-%dT%H-%M}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(report), encoding="utf-8")
    return report, path


def _window(log: WholeLog, since: datetime | None, until: datetime | None) -> TimeWindow:
    if until is None and since is None:
        newest = log.newest(1)
        if not newest.num_rows:
            raise NotFound("no prediction is logged", next_step="mainspring up, then mainspring predict")
        until = newest.column("event_at")[0].as_py() + timedelta(microseconds=1)
    end = until or datetime.now(UTC)
    begin = since or end - _DAY
    if begin >= end:
        raise ConfigError(f"the window ends ({end:%Y-%m-%d %H:%M}) before it begins", where="--since, --until")
    return TimeWindow(begin, end)


def _served(rows: pa.Table, version: str) -> pa.Table:
    """What callers were answered by the version; a batch has its features from the offline store already."""
    import pyarrow.compute as pc

    if not rows.num_rows:
        return rows
    chosen = pc.and_(pc.equal(rows.column("version"), version), pc.equal(rows.column("outcome"), "answered"))
    return rows.filter(pc.and_(chosen, pc.not_equal(rows.column("role"), "batch")))


def _drawn(rows: pa.Table, sample: int) -> pa.Table:
    if rows.num_rows <= sample:
        return rows
    digests = [
        hashlib.blake2b(str(one).encode(), digest_size=8).digest() for one in rows.column("request_id").to_pylist()
    ]
    order = sorted(range(rows.num_rows), key=digests.__getitem__)[:sample]
    return rows.take(sorted(order))
