"""`LaptopBusiness`: what the users of a rollout brought, from the project's source, each once his time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from mainspring.adapters.envoy.user_hash import hashed_user
from mainspring.domain.errors import ConfigError, DataError, MainspringError
from mainspring.domain.rollout import Rollout
from mainspring.domain.time import TimeWindow
from mainspring.ports import MetricsSource, Source
from mainspring.rollout.evidence.budget import Budget
from mainspring.rollout.evidence.business import BusinessLimits, judge_business
from mainspring.rollout.evidence.verdict import Evidence
from mainspring.settings.project import ProjectSettings, SourceSettings

if TYPE_CHECKING:
    import pyarrow as pa

Sources = Callable[[], Mapping[str, Source]]
Places = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Brought:
    """What each unit brought [units], clipped to the range, in the order in which their time was over.

    `clipped` values were beyond the range, `waiting` units are not over yet, `unmeasured` had no row of which there is a mean.
    Of `rows` since the first unit came, `strangers` are of nobody who was split.
    """

    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    on_candidate: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    clipped: int = 0
    waiting: int = 0
    unmeasured: int = 0
    rows: int = 0
    strangers: int = 0

    @property
    def blind(self) -> str:
        """Why this says nothing of anybody; "" when it does."""
        if not self.rows or self.rows > self.strangers:
            return ""
        return f"none of {self.rows} rows met anybody: `rollout.business.key` has to name what callers send"

    @property
    def words(self) -> str:
        """What a person should know besides; "" when nothing."""
        told = {
            "{} values beyond the range counted as its end": self.clipped,
            "{} without a row left out": self.unmeasured,
            "{} not over yet": self.waiting,
        }
        return ", ".join(text.format(count) for text, count in told.items() if count)


class LaptopBusiness:
    """The metric of `rollout.business`, read again at most every `every_seconds`."""

    def __init__(
        self, settings: ProjectSettings, sources: Sources, evidence: MetricsSource, *, every_seconds: float = 0.0
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._evidence = evidence
        self._every_seconds = every_seconds
        self._last: tuple[tuple[str, int], float, tuple[Evidence, str]] | None = None

    def judge(self, rollout: Rollout, now: datetime, budget: Budget) -> tuple[Evidence | None, str]:
        """The verdict on the units of the rollout's step so far, None where there is no such metric or nothing is split; and why
        nothing may be accepted meanwhile, "" when nothing speaks against it.

        A source that cannot be read stops nobody from going back for another reason.
        """
        metric = self._settings.rollout.business
        if metric is None or not rollout.splits:
            return None, ""
        step, at = (rollout.id, rollout.step), time.monotonic()
        if self._last is not None and self._last[0] == step and at - self._last[1] < self._every_seconds:
            return self._last[2]
        unit = "users" if rollout.sticky_header else "requests"
        try:
            found = self._judge(self.brought(rollout, now), rollout, budget, unit)
        except MainspringError as error:
            blind = f"rollout.business cannot be read: {error.what}"
            found = Evidence("INCONCLUSIVE", blind, unit=unit), blind
        self._last = (step, at, found)
        return found

    def _judge(self, brought: Brought, rollout: Rollout, budget: Budget, unit: str) -> tuple[Evidence, str]:
        metric = self._settings.rollout.business
        assert metric is not None
        splits = sum(one.kind != "shadow" for one in rollout.steps)
        found = judge_business(
            brought.values,
            brought.on_candidate,
            rollout.weight_percent / 100,
            BusinessLimits(*metric.range, higher_is_better=metric.higher_is_better, margin=metric.margin),
            asked=rollout.steps[rollout.step].evidence,
            # Every weight has its own users, and its own share of what may go back falsely.
            alpha_to_reject=(budget.alpha_of("business") or budget.alpha) / splits,
            alpha_to_accept=budget.alpha_to_accept,
            unit=unit,
        )
        told = "; ".join(filter(None, [found.reason, brought.words, brought.blind]))
        return replace(found, reason=told), brought.blind

    def brought(self, rollout: Rollout, now: datetime) -> Brought:
        """What the units at the rollout's present weight brought, of those whose time is over `now`.

        Errors: `ConfigError` when the source lacks a column.
        """
        metric = self._settings.rollout.business
        assert metric is not None
        source = self._settings.sources[metric.source]
        wait = source.delay if metric.wait is None else metric.wait
        members = self._evidence.members(rollout.id, rollout.weight_percent)
        since = members.column("since").to_numpy().astype("datetime64[us]")
        over = since <= _instant(now - metric.window - wait)
        arms = members.column("arm").to_numpy(zero_copy_only=False)[over] == "candidate"
        waiting = int((~over).sum())
        if not over.any():
            return Brought(np.zeros(0), arms, waiting=waiting)
        first = members.column("since")[0].as_py()
        rows = self._sources()[metric.source].read(known_at=now, window=TimeWindow(first, now))
        require_columns(self._settings, metric.source, rows.column_names)
        unit = _units(rows.column(metric.key_column), members, rollout, metric.join)
        at, known = _times(rows, source)
        numbers = _numbers(rows, metric.column)
        began = since[np.maximum(unit, 0)]
        counted = (unit >= 0) & (at >= began) & (at < began + _span(metric.window)) & ~np.isnan(numbers)
        counted &= known <= began + _span(metric.window + wait)
        values, measured = _values(metric.kind, unit[counted], numbers[counted], len(since))
        values, measured, low, high = values[over], measured[over], *metric.range
        return Brought(
            np.clip(values[measured], low, high),
            arms[measured],
            clipped=int(((values < low) | (values > high)).sum()),
            waiting=waiting,
            unmeasured=int((~measured).sum()),
            rows=len(unit),
            strangers=int((unit < 0).sum()),
        )


def require_columns(settings: ProjectSettings, source: str, there: Sequence[str]) -> None:
    """Refuse a source of the business metric without its columns; `there` are those of `source`. Errors: `ConfigError`."""
    metric = settings.rollout.business
    if metric is None or metric.source != source:
        return
    for name, column in (("column", metric.column), ("key", metric.key_column)):
        if column is not None and column not in there:
            raise ConfigError(
                f"source {source!r} has no column {column!r}",
                where=f"mainspring.yaml: rollout.business.{name}",
                valid=", ".join(there),
            )


def business_of(
    settings: ProjectSettings, sources: Sources, evidence: MetricsSource, *, every_seconds: float = 0.0
) -> LaptopBusiness | None:
    """The project's metric; None where it has none."""
    if settings.rollout.business is None:
        return None
    return LaptopBusiness(settings, sources, evidence, every_seconds=every_seconds)


def _units(column: pa.ChunkedArray, members: pa.Table, rollout: Rollout, join: str) -> Places:
    """Each row's unit [rows], by its place among the members; -1 for a row of nobody who was split."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = column.cast(pa.string()).combine_chunks()
    if join == "user":
        salt = rollout.salt or rollout.id
        each = keys.dictionary_encode()
        hashes = pa.array([hashed_user(salt, key) for key in each.dictionary.to_pylist()], pa.string())
        return _among(hashes.take(each.indices), members.column("user"))
    if not rollout.sticky_header:
        return _among(keys, members.column("user"))
    owned = members.column("requests").combine_chunks()
    owners = np.append(pc.list_parent_indices(owned).to_numpy(zero_copy_only=False).astype(np.int64), -1)
    return owners[_among(keys, owned.flatten())]


def _among(keys: pa.Array, known: pa.Array | pa.ChunkedArray) -> Places:
    """Each key's place among the known ones [keys], -1 for one that is none of them."""
    import pyarrow.compute as pc

    place = pc.index_in(keys, value_set=known)
    return np.asarray(
        pc.fill_null(pc.if_else(pc.is_valid(keys), place, None), -1).to_numpy(zero_copy_only=False), np.int64
    )


def _times(rows: pa.Table, source: SourceSettings) -> tuple[Any, Any]:
    """When each row happened, and when it became known."""
    at = rows.column(str(source.time)).to_numpy().astype("datetime64[us]")
    if source.available_at is None:
        return at, at + _span(source.delay)
    return at, rows.column(source.available_at).to_numpy().astype("datetime64[us]")


def _values(kind: str, unit: Places, numbers: Any, units: int) -> tuple[Any, Any]:
    """What each of so many units brought, and whether there is such a number, from the numbers [rows] of units [rows]."""
    sums = np.bincount(unit, weights=numbers, minlength=units).astype(np.float64)
    if kind == "sum":
        return sums, np.ones(units, np.bool_)
    if kind == "any":
        return (np.bincount(unit[numbers != 0], minlength=units) > 0).astype(np.float64), np.ones(units, np.bool_)
    count = np.bincount(unit, minlength=units)
    return sums / np.maximum(count, 1), count > 0


def _numbers(rows: pa.Table, column: str | None) -> Any:
    """The number in each row, NaN where there is none."""
    import pyarrow as pa

    if column is None:
        return np.ones(rows.num_rows)
    try:
        found = rows.column(column).cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"column {column!r} has no numbers: {error}", where="mainspring.yaml: rollout.business.column"
        ) from error
    return found.to_numpy(zero_copy_only=False).astype(np.float64)


def _instant(at: datetime) -> np.datetime64:
    return np.datetime64(at.replace(tzinfo=None), "us")


def _span(of: timedelta) -> np.timedelta64:
    return np.timedelta64(of // timedelta(microseconds=1), "us")
