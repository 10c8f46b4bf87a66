"""Counts of the prediction log by version and hour, kept on disk: a day, a week and a version's life are sums of hours.

An hour is counted again when the log says that its rows changed (its token is another one): rows that come late are counted,
and nothing is counted twice after a restart. The token is asked for before the rows are read, and a day's file is replaced as
a whole: of one who is killed in between, or who read rows that had just come, the hour is counted again. Hours whose rows were
deleted keep their counts.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mainspring.domain.errors import DataError
from mainspring.domain.log_record import microseconds
from mainspring.domain.time import TimeWindow, floor_to
from mainspring.drift.cells import Counts
from mainspring.drift.placing import WindowedCounts
from mainspring.drift.profile import CONFIDENCE, PREDICTION, Profile, add_up
from mainspring.drift.storage import KeptCounts, counts_bytes, counts_of, hours_table, merged_bytes
from mainspring.platforms.drift_rows import counted_rows, needed
from mainspring.platforms.whole_file import write_whole
from mainspring.ports import LogHour, PredictionLog

if TYPE_CHECKING:
    import pyarrow as pa

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_MOST_BYTES = 32 * 1024 * 1024
"""Hours are read together up to this size, and larger ones alone: memory does not grow with the window."""
_DAYS_IN_MEMORY = 64
"""Sums of whole days that are not read again: two months, so that four weeks are added up without a file."""
_Day = tuple[tuple[str, ...], dict[str, Counts]]


class HourCounts:
    """The counts of one version. `classes` are the model's, of several; features in `unwatched` are not counted."""

    def __init__(
        self,
        version: str,
        profile: Profile,
        log: PredictionLog,
        folder: Path,
        *,
        classes: Sequence[str] = (),
        unwatched: frozenset[str] = frozenset(),
    ) -> None:
        self._version = version
        self._profile = profile
        self._log = log
        self._folder = folder
        self._classes = tuple(classes)
        apart = {PREDICTION, CONFIDENCE, *unwatched}
        self._names = [name for name in profile.cells if name not in apart]
        self._key = _key(version, profile, self._names)
        self._days: dict[datetime, _Day] = {}

    def of(self, window: TimeWindow) -> dict[str, Counts]:
        """Counts of a window. Whole hours are kept; pieces of hours are counted anew each time."""
        first = floor_to(window.start + _HOUR - timedelta(microseconds=1), _HOUR)
        last = floor_to(window.end, _HOUR)
        if first >= last:
            return self._counted(window)
        pieces = (TimeWindow(window.start, first), TimeWindow(last, window.end))
        parts = [self._counted(one) for one in pieces if one.start < one.end]
        return add_up(self._profile, [*self._whole_hours(TimeWindow(first, last)), *parts])

    def life(self) -> dict[str, Counts]:
        """The sum of all hours that were ever counted."""
        kept = [self._kept(path) for path in sorted(self._folder.glob("*.parquet"))]
        return add_up(self._profile, [one.total() for one in kept if one is not None])

    def days(self) -> list[datetime]:
        """The days that hours were counted of, oldest first, whether or not the log still has them."""
        names = sorted(path.stem for path in self._folder.glob("????-??-??.parquet"))
        return [datetime.fromisoformat(name).replace(tzinfo=UTC) for name in names]

    def _whole_hours(self, window: TimeWindow) -> Iterator[dict[str, Counts]]:
        there = self._log.hours(window)
        days: dict[datetime, list[datetime]] = defaultdict(list)
        for place in range((window.end - window.start) // _HOUR):
            hour = window.start + place * _HOUR
            days[floor_to(hour, _DAY)].append(hour)
        for day, hours in days.items():
            yield self._of_day(day, hours, there)

    def _of_day(self, day: datetime, hours: Sequence[datetime], there: Mapping[datetime, LogHour]) -> dict[str, Counts]:
        state = tuple(f"{hour:%H} {there[hour].token if hour in there else ''}" for hour in hours)
        if day in self._days and self._days[day][0] == state:
            return self._days[day][1]
        import pyarrow as pa

        path = self._folder / f"{day:%Y-%m-%d}.parquet"
        kept = self._kept(path)
        tokens: dict[str, str] = dict(kept.about["tokens"]) if kept is not None else {}
        stale = [hour for hour in hours if hour in there and tokens.get(f"{hour:%H}") != there[hour].token]
        if stale:
            found = pa.concat_tables(self._hours(chunk) for chunk in _chunks(stale, there))
            tokens |= {f"{hour:%H}": there[hour].token for hour in stale}
            about = {"key": self._key, "version": self._version, "tokens": tokens}
            raw = counts_bytes(found, about) if kept is None else merged_bytes(kept, found, about)
            write_whole(path, raw)
            kept = counts_of(raw, str(path))
        total = {} if kept is None else kept.total({microseconds(hour) for hour in hours})
        self._days[day] = state, total
        while len(self._days) > _DAYS_IN_MEMORY:
            del self._days[min(self._days)]
        return total

    def _kept(self, path: Path) -> KeptCounts | None:
        """A day's counts; None where there are none, or of other features or cells: then they are counted again."""
        try:
            kept = counts_of(path.read_bytes(), str(path))
        except (FileNotFoundError, DataError):
            return None
        return kept if kept.about.get("key") == self._key else None

    def _hours(self, hours: Sequence[datetime]) -> pa.Table:
        """Neighbouring hours, counted."""
        window = TimeWindow(hours[0], hours[-1] + _HOUR)
        bounds = [microseconds(one) for one in (*hours, window.end)]
        return hours_table(bounds[:-1], self._by_window(window, bounds))

    def _counted(self, window: TimeWindow) -> dict[str, Counts]:
        bounds = [microseconds(window.start), microseconds(window.end)]
        return KeptCounts(hours_table(bounds[:1], self._by_window(window, bounds)), {}).total()

    def _by_window(self, window: TimeWindow, bounds: Sequence[int]) -> dict[str, WindowedCounts]:
        rows = self._log.read(window, needed(self._names))
        counted = counted_rows(self._profile, rows, self._names, self._version, self._classes)
        return counted.by_window(np.array(bounds))


def _chunks(hours: Sequence[datetime], there: Mapping[datetime, LogHour]) -> Iterator[list[datetime]]:
    """Neighbouring hours that are read at once."""
    chunk: list[datetime] = []
    size = 0
    for hour in hours:
        size += there[hour].size_bytes
        if chunk and (hour - chunk[-1] != _HOUR or size > _MOST_BYTES):
            yield chunk
            chunk, size = [], there[hour].size_bytes
        chunk.append(hour)
    if chunk:
        yield chunk


def _key(version: str, profile: Profile, names: Sequence[str]) -> str:
    """What the counts are of: the same only for the same version, features and cells."""
    digest = hashlib.sha256("\n".join([version, *names]).encode())
    for name, cells in profile.cells.items():
        digest.update("\n".join([name, cells.kind, *cells.categories]).encode())
        digest.update(cells.edges.tobytes())
    return digest.hexdigest()[:16]
