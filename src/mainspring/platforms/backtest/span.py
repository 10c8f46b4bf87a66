"""`span_of`: from when to when the past is replayed; what is too short for that is said before anything is fitted."""

from __future__ import annotations

from datetime import datetime, timedelta

from mainspring.domain.errors import ConfigError, DataError
from mainspring.domain.time import duration_in_words, utc
from mainspring.platforms.backtest.history import History
from mainspring.settings.project import ProjectSettings

_DAY = timedelta(days=1)


def span_of(
    settings: ProjectSettings, history: History, start: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    """The replay's start and end; None is a sixth of the past, or when a first model can be trained, and the end of the past.

    Errors: `ConfigError` for a start before anything could be learnt, and for a span without a whole window of drift,
    `DataError` where the whole past is too short, or none of the span's questions has a label.
    """
    first, last = (utc(history.asked[place].item()) for place in (0, -1))
    end = until or last + timedelta(microseconds=1)
    trainable = _trainable(settings, history)
    if end <= first or (start is not None and not first < start < end):
        days = f"a start after {first:%Y-%m-%d}, when the first question was asked, and before {end:%Y-%m-%d}"
        raise _nothing(start or first, end, days)
    held_out = duration_in_words(settings.split.holdout)
    if trainable is None or trainable >= end:
        raise DataError(
            f"the past is too short: no first model can be trained in it. Its questions were asked from {first:%Y-%m-%d} to "
            f"{end:%Y-%m-%d}, and {held_out} of those with a label are held out",
            where="mainspring.yaml: split.holdout",
            valid=f"labelled questions of more than {held_out}, and days after those to replay",
            next_step="wait for more labels, shorten split.holdout, or mainspring backtest --from source",
        )
    sixth = _midnight(first + (end - first) / 6)
    begin = start or (sixth if trainable <= sixth < end else trainable)
    if begin < trainable:
        raise ConfigError(
            f"no first model can be trained on {begin:%Y-%m-%d}: the labels known by then reach back no further than the {held_out} "
            "that are held out",
            where="--start", valid=f"{trainable:%Y-%m-%d} or later", next_step=f"mainspring backtest --start {trainable:%Y-%m-%d}",
        )  # fmt: skip
    if end - begin < settings.drift.every:
        every = duration_in_words(settings.drift.every)
        raise _nothing(begin, end, f"a span in which a window of drift lies, drift.every: {every}")
    _require_labels(history, begin, end)
    return begin, end


def _nothing(begin: datetime, end: datetime, valid: str) -> ConfigError:
    return ConfigError(
        f"nothing is replayed from {begin:%Y-%m-%d} to {end:%Y-%m-%d}", where="--start, --until", valid=valid,
        next_step="mainspring backtest --start DAY --until DAY, or wait for a longer past",
    )  # fmt: skip


def _trainable(settings: ProjectSettings, history: History) -> datetime | None:
    """The first midnight by which labels reach further back than what is held out; None: never."""
    import numpy as np

    order = np.argsort(history.known, kind="stable")
    order = order[~np.isnat(history.known[order])]
    asked = history.asked[order]
    reach = np.maximum.accumulate(asked) - np.minimum.accumulate(asked)
    enough = np.flatnonzero(reach > np.timedelta64(settings.split.holdout))
    if not len(enough):
        return None
    place = enough[0]
    # A question may be asked for later than its label is known; it is not there before it is asked.
    at: datetime = max(history.known[order[place]], asked[: place + 1].max()).item()
    return _midnight(utc(at))


def _midnight(at: datetime) -> datetime:
    """The midnight after an instant."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY


def _require_labels(history: History, begin: datetime, end: datetime) -> None:
    import numpy as np

    first, last = history.before(begin), history.before(end)
    if np.isnat(history.known[first:last]).all():
        newest = utc(history.asked[~np.isnat(history.known)][-1].item())
        raise DataError(
            f"none of the {last - first:,} questions from {begin:%Y-%m-%d} to {end:%Y-%m-%d} has a label: there is no quality "
            "to compare",
            where="--start, --until",
            valid=f"days up to {newest:%Y-%m-%d}, from which the newest label is",
            next_step="mainspring labels",
        )
