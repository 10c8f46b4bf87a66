"""Metrics of one block of rows with their intervals: realised from labels, expected from a reference; and the reference's bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mainspring.domain.block_interval import (
    closed_scale,
    interval,
    leave_out,
    open_scale,
    spread,
    t_quantile,
)
from mainspring.domain.metric import Estimate
from mainspring.domain.performance_report import ReferenceBand
from mainspring.performance.expected import Expected
from mainspring.performance.reference import Deviation, PerformanceReference, SliceReference
from mainspring.performance.row_estimates import RowEstimates

NOMINAL_DEGREES = 1_000_000
"""Of a normal distribution, where nothing was estimated from few days."""


def realised(
    metrics: Sequence[str], truth: Any, outputs: Any, parts: Any, *, confidence: float = 0.9
) -> dict[str, Estimate]:
    """By metric its value on labelled rows, with an interval over `parts` [rows]: days of a week, hours of a day.

    >>> realised(["accuracy"], [1, 0, 1, 1], [0.9, 0.2, 0.3, 0.8], [0, 0, 0, 0])["accuracy"].value
    0.75
    """
    found = {name: interval(leave_out(name, truth, outputs, parts), confidence=confidence) for name in metrics}
    return {name: one for name, one in found.items() if one is not None}


def expected(
    reference: PerformanceReference,
    estimates: RowEstimates,
    metrics: Sequence[str],
    here: Any,
    *,
    days: int = 1,
    confidence: float = 0.9,
) -> dict[str, Estimate]:
    """By metric what labels will say of the rows `here`, a block of `days` days, with an interval for what they will say.

    It is as wide as chance and what held-out days deviated from their own estimates; where those are not known, as chance alone.
    """
    found = {}
    for name, one in estimates.expected(metrics, here).items():
        error, degrees = total_error(one, reference.deviations.get(name), days)
        middle, half = open_scale(name, one.value), t_quantile((1 + confidence) / 2, degrees) * error
        ends = (closed_scale(name, middle - half), closed_scale(name, middle + half))
        found[name] = Estimate(one.value, *ends, one.rows, days, confidence)
    return found


def total_error(estimate: Expected, deviation: Deviation | None, days: int) -> tuple[float, float]:
    """Standard error of an estimate for a block of `days` days on the open scale, and its degrees of freedom.

    Chance; what the estimator does not know of these rows, or deviated by on held-out ones, whichever is more; days' own moods.

    >>> total_error(Expected(0.5, 0.3, 100), Deviation(0.0, 0.4, 1.0, 11), 1)
    (0.5, 10.0)
    """
    if deviation is None:
        return (estimate.error**2 + estimate.doubt**2) ** 0.5, float(NOMINAL_DEGREES)
    varies = deviation.inflation if days > 1 else 1.0
    own: float = deviation.daily**2 * min(varies / days, 1.0)
    learnt = max(deviation.shared, estimate.doubt)
    return (estimate.error**2 + learnt**2 + own) ** 0.5, float(deviation.days - 1)


def band(
    reference: PerformanceReference,
    version: str,
    metric: str,
    slice_: str = "",
    *,
    days: int = 1,
    confidence: float = 0.9,
) -> ReferenceBand | None:
    """Where a new block of `days` days lies if it is like the held-out days; None where the metric was not taken.

    Of single days from the days themselves; of a week from how much the metric moves when a day is left out.
    """
    found = reference.of(metric, slice_)
    if found is None or found.left_out.value is None:
        return None
    daily = tuple(one for one in found.daily if one is not None)
    middle, error, degrees = _of_day(found) if days == 1 else _of_days(found, days)
    if error is None or not reference.timed:
        ends: tuple[float | None, float | None] = (None, None)
        middle = open_scale(metric, found.left_out.value)
    else:
        half = t_quantile((1 + confidence) / 2, degrees) * error
        ends = (closed_scale(metric, middle - half), closed_scale(metric, middle + half))
    rows = sum(found.left_out.rows)
    value = closed_scale(metric, middle)
    return ReferenceBand(version, metric, value, *ends, rows, len(daily), slice_, confidence, daily)


def _of_day(found: SliceReference) -> tuple[float, float | None, int]:
    import numpy as np

    daily = open_scale(found.left_out.metric, np.array([one for one in found.daily if one is not None], np.float64))
    if len(daily) < 3:
        return 0.0, None, 0
    return float(daily.mean()), float(daily.std(ddof=1)) * (1 + 1 / len(daily)) ** 0.5, len(daily) - 1


def _of_days(found: SliceReference, days: int) -> tuple[float, float | None, int]:
    whole = spread(found.left_out, neighbours=True)
    if whole is None or whole.degrees < 2:
        return 0.0, None, 0
    count = whole.degrees + 1
    # The error of a mean of `count` days, made that of a mean of `days` against it.
    return whole.value, whole.error * count**0.5 * (1 / days + 1 / count) ** 0.5, whole.degrees
