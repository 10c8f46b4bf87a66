"""Time as the platform speaks it: UTC instants, half-open windows, and durations in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mainspring.domain.errors import ConfigError

_UNIT_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
DURATION_PATTERN = r"^\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*$"
"""A duration in words, as a regular expression for whoever checks the text before it comes here."""
_DURATION = re.compile(DURATION_PATTERN)


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """A half-open window of event time, `start <= t < end`, both UTC.

    >>> day = TimeWindow(datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 3, 2, tzinfo=UTC))
    >>> day.contains(day.start), day.contains(day.end), day.seconds
    (True, False, 86400.0)
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a window ends at or after its start: {self.start} .. {self.end}")

    def contains(self, at: datetime) -> bool:
        """Whether `at` lies in the window."""
        return self.start <= at < self.end

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return (self.end - self.start).total_seconds()


def parse_duration(text: str) -> timedelta:
    """A duration from `30s`, `15m`, `3h`, `28d` or `2w`.

    >>> parse_duration("3h")
    datetime.timedelta(seconds=10800)
    """
    found = _DURATION.match(text)
    if found is None:
        raise ConfigError(
            f"{text!r} is not a duration", valid="a number and s, m, h, d or w, such as 30s, 15m, 3h, 28d"
        )
    return timedelta(seconds=float(found[1]) * _UNIT_SECONDS[found[2]])


def duration_in_words(span: timedelta) -> str:
    """A duration as `parse_duration` reads it, in its largest whole unit.

    >>> duration_in_words(timedelta(days=14)), duration_in_words(timedelta(minutes=90)), duration_in_words(timedelta(0))
    ('14d', '90m', '0s')
    """
    seconds = span.total_seconds()
    unit = next((one for one in ("d", "h", "m") if seconds and seconds % _UNIT_SECONDS[one] == 0), "s")
    return f"{seconds / _UNIT_SECONDS[unit]:g}{unit}"


def utc(at: datetime) -> datetime:
    """`at` in UTC; a naive datetime is taken as UTC.

    >>> utc(datetime(2013, 1, 1)).isoformat()
    '2013-01-01T00:00:00+00:00'
    """
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def floor_to(at: datetime, every: timedelta) -> datetime:
    """The last multiple of `every` since the epoch at or before `at`.

    >>> floor_to(datetime(2013, 1, 1, 5, tzinfo=UTC), timedelta(hours=3)).hour
    3
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + ((utc(at) - epoch) // every) * every


def instant(text: str) -> datetime:
    """An instant from ISO 8601 text; a date alone is its midnight UTC.

    >>> instant("2013-06-01").isoformat()
    '2013-06-01T00:00:00+00:00'
    """
    try:
        return utc(datetime.fromisoformat(text))
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not an instant", valid="ISO 8601, such as 2013-06-01 or 2013-06-01T12:00Z"
        ) from error
