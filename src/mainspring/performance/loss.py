"""`LossTest`: is a version worse now than on its held-out rows? Whole days are the observations, on both sides.

Each side's error is a jackknife's over days, made larger where days resemble the day before; their difference is compared with
Student's t of Welch's degrees. It is asked about one stretch of days at one time: who asks again each week has the stated chance
of a false answer each time, and divides `alpha` if that is too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mainspring.domain.block_interval import LeftOut, Spread, interval, leave_out, spread, t_above, t_quantile
from mainspring.domain.metric import METRICS, Estimate
from mainspring.domain.performance_report import LossBasis, LossTest
from mainspring.domain.time import TimeWindow
from mainspring.performance.blocks import total_error
from mainspring.performance.reference import LEAST_DAY_ROWS, PerformanceReference
from mainspring.performance.row_estimates import RowEstimates

LEAST_DAYS = 7
"""Fewer days with labels, now or held out, are no evidence: less than a week says nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which version is asked about, over which days, and what is asked for."""

    version: str
    metric: str
    window: TimeWindow
    rows: int
    labelled: int
    alpha: float = 0.05
    tolerance: float = 0.0
    min_coverage: float = 0.8
    confidence: float = 0.9


def realised_loss(reference: PerformanceReference, asked: Question, truth: Any, outputs: Any, days: Any) -> LossTest:
    """From the labelled rows of the asked days; `days` [rows]."""
    import numpy as np

    count = len(np.unique(np.asarray(days)))
    then = reference.of(asked.metric)
    if not asked.rows:
        return _nothing("realised", asked, count, "nobody was answered in these days")
    coverage = asked.labelled / asked.rows
    if coverage < asked.min_coverage:
        text = f"{coverage:.0%} of the answers have their label; {asked.min_coverage:.0%} are asked for"
        return _nothing("realised", asked, count, text)
    now = leave_out(asked.metric, truth, outputs, days)
    return _compared("realised", reference, asked, then.left_out if then else None, now, spread_of(now), count)


def expected_loss(reference: PerformanceReference, asked: Question, estimates: RowEstimates, days: Any) -> LossTest:
    """The same before labels come: what is to be expected of all rows of the asked days, under what the estimate assumes."""
    import numpy as np

    count = len(np.unique(np.asarray(days)))
    then = reference.of(asked.metric)
    found = estimates.expected([asked.metric], slice(None)).get(asked.metric) if asked.rows else None
    if found is None:
        return _nothing("expected", asked, count, "nothing can be expected of these days' rows")
    deviation = reference.deviations.get(asked.metric)
    error, degrees = total_error(found, deviation, count)
    # From the open scale to the metric's own unit, by the slope there.
    low, high = (_closed(asked.metric, found.value, step * error) for step in (-0.5, 0.5))
    now = LeftOut(asked.metric, found.value, (None,) * count, (found.rows,))
    return _compared(
        "expected",
        reference,
        asked,
        then.left_out if then else None,
        now,
        Spread(found.value, abs(high - low), int(degrees)) if deviation is not None else None,
        count,
    )


def spread_of(found: LeftOut) -> Spread | None:
    """In the metric's own unit, neighbours counted as neighbours."""
    return spread(found, neighbours=True, opened=False)


def _compared(
    basis: LossBasis,
    reference: PerformanceReference,
    asked: Question,
    then: LeftOut | None,
    now: LeftOut,
    error_now: Spread | None,
    days: int,
) -> LossTest:
    error_then = spread_of(then) if then is not None else None
    short = _too_short(reference, asked.metric, then, error_then, days)
    if short or then is None or then.value is None or error_then is None:
        return _nothing(basis, asked, days, short, then, now)
    if now.value is None:
        return _nothing(basis, asked, days, f"{asked.metric} is not defined on these rows", then, now)
    if error_now is None:
        few = f"fewer than two held-out days have {LEAST_DAY_ROWS} rows: how far days are from what is expected is not known"
        return _nothing(basis, asked, days, few, then, now)
    metric = METRICS[asked.metric]
    loss = metric.gain(then.value, now.value)
    error = (error_then.error**2 + error_now.error**2) ** 0.5
    degrees = _welch(error_then, error_now)
    if error > 0:
        p_value = t_above((loss - asked.tolerance) / error, degrees)
    else:
        p_value = 0.0 if loss > asked.tolerance else 1.0
    half = t_quantile((1 + asked.confidence) / 2, degrees) * error
    worse = p_value < asked.alpha
    return LossTest(
        basis,
        asked.version,
        asked.metric,
        asked.window,
        days,
        asked.rows,
        asked.labelled,
        p_value,
        worse,
        asked.alpha,
        _in_words(basis, asked, then.value, now.value, loss, half, p_value, worse, days),
        _estimate(then, asked.confidence),
        _estimate(now, asked.confidence) if basis == "realised" else _expected(now, error_now, asked.confidence),
        Estimate(loss, loss - half, loss + half, asked.rows, days, asked.confidence),
        asked.tolerance,
    )


def _too_short(
    reference: PerformanceReference, metric: str, then: LeftOut | None, error: Spread | None, days: int
) -> str:
    if not reference.timed:
        return "the held-out rows have no times: how days differ is not known"
    if then is None or then.value is None:
        return f"{metric} is not defined on the held-out rows"
    held_out = len(then.rows) if error is None else error.degrees + 1
    if held_out < LEAST_DAYS:
        return f"{held_out} held-out days; at least {LEAST_DAYS} are needed"
    if days < LEAST_DAYS:
        return f"{days} days with rows; at least {LEAST_DAYS} are needed"
    return ""


def _in_words(
    basis: LossBasis,
    asked: Question,
    then: float,
    now: float,
    loss: float,
    half: float,
    p_value: float,
    worse: bool,
    days: int,
) -> str:
    verb = "was" if basis == "realised" else "is expected to be"
    beyond = f" by more than {asked.tolerance:g}" if asked.tolerance else ""
    text = f"{asked.metric} {verb} {now:.4f} on these {days} days, {then:.4f} on held-out rows: {abs(loss):.4f} "
    text += f"{'worse' if loss > 0 else 'better'}, {asked.confidence:.0%} interval of the loss {loss - half:+.4f} to {loss + half:+.4f}"
    verdict = f"worse{beyond}" if worse else f"not shown to be worse{beyond}"
    return f"{text}; {verdict} (p = {p_value:.3g}, alpha = {asked.alpha:g})"


def _welch(one: Spread, other: Spread) -> float:
    squares = [one.error**2, other.error**2]
    below = squares[0] ** 2 / one.degrees + squares[1] ** 2 / other.degrees
    return sum(squares) ** 2 / below if below else float(min(one.degrees, other.degrees))


def _closed(metric: str, value: float, step: float) -> float:
    from mainspring.domain.block_interval import closed_scale, open_scale

    return closed_scale(metric, open_scale(metric, value) + step)


def _estimate(found: LeftOut | None, confidence: float) -> Estimate | None:
    return None if found is None else interval(found, confidence=confidence, neighbours=True)


def _expected(found: LeftOut, error: Spread, confidence: float) -> Estimate | None:
    if found.value is None:
        return None
    half = t_quantile((1 + confidence) / 2, error.degrees) * error.error
    return Estimate(
        found.value, found.value - half, found.value + half, sum(found.rows), len(found.without), confidence
    )


def _nothing(
    basis: LossBasis, asked: Question, days: int, reason: str, then: LeftOut | None = None, now: LeftOut | None = None
) -> LossTest:
    return LossTest(
        basis,
        asked.version,
        asked.metric,
        asked.window,
        days,
        asked.rows,
        asked.labelled,
        1.0,
        False,
        asked.alpha,
        reason,
        _estimate(then, asked.confidence),
        None if now is None or basis == "expected" else _estimate(now, asked.confidence),
        None,
        asked.tolerance,
    )
