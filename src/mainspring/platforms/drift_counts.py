"""Counts of the prediction log by version and hour, kept on disk: a day, a week and a version's life are sums of hours.

An hour is counted again when the log says that its rows changed (its token is another one): rows that come late are counted,
and nothing is counted twice after a restart. The token is asked for before the rows are read, and a day's file is replaced as
a whole: of one who is killed in between, or who read rows that had just come, the hour is counted again. Hours whose rows were
deleted keep their counts.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
_MOST_BETWEEN = 24
"""So many hours without rows may lie between two that are read together: a night, a Sunday."""
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

    def of(self, window: TimeWindow, there: Mapping[datetime, LogHour] | None = None) -> dict[str, Counts]:
        """Counts of a window. Whole hours are kept; pieces of hours are counted anew each time. `there` is what the log says
        of the window's hours, for who asks about several windows.
        """
        first = floor_to(window.start + _HOUR - timedelta(microseconds=1), _HOUR)
        last = floor_to(window.end, _HOUR)
        if first >= last:
            return self._counted(window)
        pieces = (TimeWindow(window.start, first), TimeWindow(last, window.end))
        parts = [self._counted(one) for one in pieces if one.start < one.end]
        return add_up(self._profile, [*self._whole_hours(TimeWindow(first, last), there), *parts])

    def life(self) -> dict[str, Counts]:
        """The sum of all hours that were ever counted."""
        kept = [self._kept(path) for path in sorted(self._folder.glob("*.parquet"))]
        return add_up(self._profile, [one.total() for one in kept if one is not None])

    def days(self) -> list[datetime]:
        """The days that hours were counted of, oldest first, whether or not the log still has them."""
        names = sorted(path.stem for path in self._folder.glob("????-??-??.parquet"))
        return [datetime.fromisoformat(name).replace(tzinfo=UTC) for name in names]

    def count(self, window: TimeWindow, there: Mapping[datetime, LogHour]) -> None:
        """Count the hours of a window whose rows are new or changed; those of many days cost little more than those of one."""
        self._count(_by_day(one for one in there if window.start <= one < window.end), there)

    def _whole_hours(self, window: TimeWindow, there: Mapping[datetime, LogHour] | None) -> Iterator[dict[str, Counts]]:
        there = self._log.hours(window) if there is None else there
        days = _by_day(window.start + place * _HOUR for place in range((window.end - window.start) // _HOUR))
        self._count(days, there)
        for day, hours in days.items():
            yield self._of_day(day, hours, there)

    def _count(self, days: Mapping[datetime, list[datetime]], there: Mapping[datetime, LogHour]) -> None:
        import pyarrow.compute as pc

        stale = []
        for day, hours in days.items():
            if self._remembered(day, _state(hours, there)) is None:
                tokens = self._tokens(self._kept(self._path(day)))
                stale += [one for one in hours if one in there and tokens.get(f"{one:%H}") != there[one].token]
        for chunk in _chunks(sorted(stale), there):
            table = self._hours(chunk)
            for day, hours in _by_day(chunk).items():
                first, last = microseconds(day), microseconds(day + _DAY)
                own = pc.and_(pc.greater_equal(table.column("hour"), first), pc.less(table.column("hour"), last))
                self._put(day, table.filter(own), {f"{one:%H}": there[one].token for one in hours})

    def _put(self, day: datetime, found: pa.Table, tokens: Mapping[str, str]) -> None:
        """Some hours of a day, beside those that are kept."""
        kept = self._kept(self._path(day))
        about = {"key": self._key, "version": self._version, "tokens": {**self._tokens(kept), **tokens}}
        write_whole(self._path(day), counts_bytes(found, about) if kept is None else merged_bytes(kept, found, about))

    def _of_day(self, day: datetime, hours: Sequence[datetime], there: Mapping[datetime, LogHour]) -> dict[str, Counts]:
        state = _state(hours, there)
        known = self._remembered(day, state)
        if known is not None:
            return known
        kept = self._kept(self._path(day))
        total = {} if kept is None else kept.total({microseconds(hour) for hour in hours})
        self._days[day] = state, total
        while len(self._days) > _DAYS_IN_MEMORY:
            del self._days[min(self._days)]
        return total

    def _remembered(self, day: datetime, state: tuple[str, ...]) -> dict[str, Counts] | None:
        """The sum of these hours of a day, where it is in memory and none of them changed."""
        then, total = self._days.get(day, ((), {}))
        return total if then == state else None

    def _path(self, day: datetime) -> Path:
        return self._folder / f"{day:%Y-%m-%d}.parquet"

    def _tokens(self, kept: KeptCounts | None) -> dict[str, str]:
        return dict(kept.about["tokens"]) if kept is not None else {}

    def _kept(self, path: Path) -> KeptCounts | None:
        """A day's counts; None where there are none, or of other features or cells: then they are counted again."""
        try:
            kept = counts_of(path.read_bytes(), str(path))
        except (FileNotFoundError, DataError):
            return None
        return kept if kept.about.get("key") == self._key else None

    def _hours(self, hours: Sequence[datetime]) -> pa.Table:
        """Hours, counted. Those in between had no rows when the log was asked; what came since is not theirs."""
        import pyarrow as pa
        import pyarrow.compute as pc

        window = TimeWindow(hours[0], hours[-1] + _HOUR)
        bounds = list(
            range(microseconds(window.start), microseconds(window.end) + 1, _HOUR // timedelta(microseconds=1))
        )
        found = hours_table(bounds[:-1], self._by_window(window, bounds))
        return found.filter(pc.is_in(found.column("hour"), value_set=pa.array([microseconds(one) for one in hours])))

    def _counted(self, window: TimeWindow) -> dict[str, Counts]:
        bounds = [microseconds(window.start), microseconds(window.end)]
        return KeptCounts(hours_table(bounds[:1], self._by_window(window, bounds)), {}).total()

    def _by_window(self, window: TimeWindow, bounds: Sequence[int]) -> dict[str, WindowedCounts]:
        rows = self._log.read(window, needed(self._names))
        counted = counted_rows(self._profile, rows, self._names, self._version, self._classes)
        return counted.by_window(np.array(bounds))


def _chunks(hours: Sequence[datetime], there: Mapping[datetime, LogHour]) -> Iterator[list[datetime]]:
    """Hours that are read at once: none that has rows and is not asked for lies between them."""
    chunk: list[datetime] = []
    size = 0
    for hour in hours:
        size += there[hour].size_bytes
        between = range(1, (hour - chunk[-1]) // _HOUR) if chunk else ()
        apart = len(between) > _MOST_BETWEEN or any(chunk[-1] + place * _HOUR in there for place in between)
        if chunk and (apart or size > _MOST_BYTES):
            yield chunk
            chunk, size = [], there[hour].size_bytes
        chunk.append(hour)
    if chunk:
        yield chunk


def _by_day(hours: Iterable[datetime]) -> dict[datetime, list[datetime]]:
    found: dict[datetime, list[datetime]] = defaultdict(list)
    for hour in hours:
        found[floor_to(hour, _DAY)].append(hour)
    return found


def _state(hours: Sequence[datetime], there: Mapping[datetime, LogHour]) -> tuple[str, ...]:
    return tuple(f"{hour:%H} {there[hour].token if hour in there else ''}" for hour in hours)


def _key(version: str, profile: Profile, names: Sequence[str]) -> str:
    """What the counts are of: the same only for the same version, features and cells."""
    digest = hashlib.sha256("\n".join([version, *names]).encode())
    for name, cells in profile.cells.items():
        digest.update("\n".join([name, cells.kind, *cells.categories]).encode())
        digest.update(cells.edges.tobytes())
    return digest.hexdigest()[:16]
