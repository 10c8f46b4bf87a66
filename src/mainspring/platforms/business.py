"""`LaptopBusiness`: what the users of a rollout brought, from the project's source, each once his time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from mainspring.adapters.envoy.user_hash import hashed_user
from mainspring.domain.errors import ConfigError
from mainspring.domain.rollout import Rollout
from mainspring.domain.time import TimeWindow
from mainspring.ports import MetricsSource, Source
from mainspring.rollout.evidence.budget import Budget
from mainspring.rollout.evidence.business import BusinessLimits, judge_business
from mainspring.rollout.evidence.verdict import Evidence
from mainspring.settings.project import ProjectSettings

if TYPE_CHECKING:
    import pyarrow as pa

Sources = Callable[[], Mapping[str, Source]]


@dataclass(frozen=True, slots=True)
class Brought:
    """What each unit brought [units], clipped to the range, in the order in which their time was over.

    `clipped` values were beyond the range, `waiting` units are not over yet, `unmeasured` had no row of which there is a mean,
    `strangers` are rows in the window that are of nobody who was split.
    """

    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    on_candidate: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    clipped: int = 0
    waiting: int = 0
    unmeasured: int = 0
    strangers: int = 0

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
        self._last: tuple[tuple[str, int], float, Evidence] | None = None

    def judge(self, rollout: Rollout, now: datetime, budget: Budget) -> Evidence | None:
        """The verdict on the units of the rollout's step so far; None where there is no such metric, or nothing is split."""
        metric = self._settings.rollout.business
        if metric is None or not rollout.splits:
            return None
        step, at = (rollout.id, rollout.step), time.monotonic()
        if self._last is not None and self._last[0] == step and at - self._last[1] < self._every_seconds:
            return self._last[2]
        brought = self.brought(rollout, now)
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
            unit="users" if rollout.sticky_header else "requests",
        )
        found = replace(found, reason="; ".join(filter(None, [found.reason, brought.words])))
        self._last = (step, at, found)
        return found

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
        unit = _place(members, rows, rollout, self._settings, metric.join)
        at = rows.column(str(source.time)).to_numpy().astype("datetime64[us]")
        known = (
            rows.column(source.available_at).to_numpy().astype("datetime64[us]")
            if source.available_at is not None
            else at + _span(source.delay)
        )
        numbers = _numbers(rows, metric.column)
        of = np.maximum(unit, 0)
        counted = (unit >= 0) & (at >= since[of]) & (at < since[of] + _span(metric.window)) & ~np.isnan(numbers)
        counted &= known <= since[of] + _span(metric.window + wait)
        sums = np.bincount(of[counted], weights=numbers[counted], minlength=len(since))[over]
        count = np.bincount(of[counted & (numbers != 0)], minlength=len(since))[over]
        return self._clipped(sums, count, np.bincount(of[counted], minlength=len(since))[over], arms, waiting, unit)

    def _clipped(self, sums: Any, nonzero: Any, count: Any, arms: Any, waiting: int, unit: Any) -> Brought:
        metric = self._settings.rollout.business
        assert metric is not None
        measured = count > 0 if metric.kind == "mean" else np.ones(len(sums), np.bool_)
        values = {
            "sum": sums,
            "any": (nonzero > 0).astype(np.float64),
            "mean": np.divide(sums, count, out=np.zeros_like(sums), where=count > 0),
        }[metric.kind][measured]
        low, high = metric.range
        beyond = int(((values < low) | (values > high)).sum())
        return Brought(
            np.clip(values, low, high), arms[measured], beyond, waiting, int((~measured).sum()), int((unit < 0).sum())
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


def _place(members: pa.Table, rows: pa.Table, rollout: Rollout, settings: ProjectSettings, join: str) -> Any:
    """Each row's unit [rows], by its place among the members; -1 for a row of nobody who was split."""
    import pyarrow as pa
    import pyarrow.compute as pc

    metric = settings.rollout.business
    assert metric is not None
    keys = rows.column(metric.key_column).cast(pa.string())
    if join == "user":
        each = keys.combine_chunks().dictionary_encode()
        salt = rollout.salt or rollout.id
        hashes = pa.array([hashed_user(salt, key) for key in each.dictionary.to_pylist()], pa.string())
        found = pc.index_in(hashes, value_set=members.column("user")).to_numpy(zero_copy_only=False)
        found = np.where(np.isnan(found.astype(np.float64)), -1, found.astype(np.float64))
        of_key = each.indices.to_numpy(zero_copy_only=False).astype(np.float64)
        known = ~np.isnan(of_key)
        place = np.full(len(of_key), -1)
        place[known] = found[of_key[known].astype(int)]
        return place.astype(int)
    if rollout.sticky_header:
        owned = members.column("requests").combine_chunks()
        owner = pc.list_parent_indices(owned).to_numpy(zero_copy_only=False)
        at = pc.index_in(keys, value_set=owned.flatten()).to_numpy(zero_copy_only=False).astype(np.float64)
        return np.array([-1 if np.isnan(one) else owner[int(one)] for one in at], int)
    at = pc.index_in(keys, value_set=members.column("user")).to_numpy(zero_copy_only=False).astype(np.float64)
    return np.where(np.isnan(at), -1, at).astype(int)


def _numbers(rows: pa.Table, column: str | None) -> Any:
    import pyarrow as pa

    if column is None:
        return np.ones(rows.num_rows)
    return rows.column(column).cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)


def _instant(at: datetime) -> np.datetime64:
    return np.datetime64(at.replace(tzinfo=None), "us")


def _span(of: timedelta) -> np.timedelta64:
    return np.timedelta64(of // timedelta(microseconds=1), "us")
